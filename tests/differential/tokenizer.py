#!/usr/bin/env python3
"""Compares the tokenizer with its two references, line by line, and reports every difference.

    tests/differential/tokenizer.py --encode-lines build/bin/encode_lines --data "$CLOZE_TEST_DATA" [--strings 100000]
        [--vocabularies uncased ...] [--modes hf google]

Mode hf against PyPI `tokenizers` (ids and character offsets, the latter but where canonical ordering moves a mark:
HuggingFace then gives it the place it moved to even past marks that are gone afterwards); mode google against an independent writing of Google's
BasicTokenizer and WordpieceTokenizer on Python's unicodedata (ids). Text: everything under --data that is text, and
random strings of awkward characters; all four vocabularies in both modes take ten minutes. Needs the versions tools/unicode/make_tables.py was run with. Exit status 1 on any
difference.
"""
import argparse
import io
import itertools
import json
import lzma
import os
import pathlib
import random
import subprocess
import sys
import tarfile
import time
import unicodedata
import zipfile

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# name, file, lower-cased
VOCABULARIES = [("uncased", "bert-base-uncased-vocab.txt", True), ("cased", "bert-base-cased-vocab.txt", False),
                ("chinese", "bert-base-chinese-vocab.txt", True),
                ("multilingual", "bert-base-multilingual-cased-vocab.txt", False)]


def read_vocabulary(path):
    return {token: i for i, token in enumerate(path.read_bytes().decode().rstrip("\n").split("\n"))}


class HuggingFace:
    def __init__(self, vocabulary, lowercase):
        model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
        self.tokenizer = Tokenizer(model)
        self.tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase)
        self.tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self.tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])

    @staticmethod
    def moves_marks(text):
        decompose = normalizers.NFD().normalize_str
        text = normalizers.BertNormalizer(strip_accents=False, lowercase=False).normalize_str(text)
        return decompose(text) != "".join(map(decompose, text))

    def encode(self, lines):
        texts = [line.decode("utf-8", "replace") for line in lines]
        for text, encoded in zip(texts, self.tokenizer.encode_batch(texts, add_special_tokens=False)):
            yield [n for i, (a, b) in zip(encoded.ids, encoded.offsets) for n in (i, a, b)]


class Google:
    """tokenization.py of google-research/bert, written from its rules."""

    CJK = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
           (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]

    def __init__(self, vocabulary, lowercase):
        self.vocabulary, self.lowercase = vocabulary, lowercase
        self.known = {}

    def clean(self, text):
        for c in text:
            category = unicodedata.category(c)
            if c in "\t\n\r " or category == "Zs":
                yield " "
            elif c in "\0\ufffd" or category in ("Cc", "Cf"):
                continue
            elif any(a <= ord(c) <= b for a, b in self.CJK):
                yield from (" ", c, " ")
            else:
                yield c

    @staticmethod
    def is_punctuation(c):
        code = ord(c)
        ascii_symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
        return ascii_symbol or unicodedata.category(c).startswith("P")

    def words(self, token):
        if self.lowercase:
            token = unicodedata.normalize("NFD", token.lower())
            token = "".join(c for c in token if unicodedata.category(c) != "Mn")
        for punctuation, group in itertools.groupby(token, self.is_punctuation):
            if punctuation:
                yield from group
            else:
                yield from "".join(group).split()

    def pieces(self, word):
        if len(word) > 200:
            return [self.vocabulary["[UNK]"]]
        ids, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self.vocabulary.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    break
            else:
                return [self.vocabulary["[UNK]"]]
            ids.append(piece)
            start = end
        return ids

    def token_ids(self, token):
        if token not in self.known:
            self.known[token] = [i for word in self.words(token) for i in self.pieces(word)]
        return self.known[token]

    def encode(self, lines):
        for line in lines:
            text = "".join(self.clean(line.decode("utf-8", "ignore")))
            yield [i for token in text.split() for i in self.token_ids(token)]


def text_files(data):
    """(name, bytes) of everything under `data` that is text, archives opened."""
    for path in sorted(data.rglob("*")):
        name = str(path.relative_to(data))
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if not member.endswith("/"):
                        yield f"{name}:{member}", archive.read(member)
        elif name.endswith(".tar.xz"):
            with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
                for member in archive.getmembers():
                    if member.isfile():
                        yield f"{name}:{member.name}", archive.extractfile(member).read()
        elif path.is_file():
            contents = path.read_bytes()
            yield name, lzma.decompress(contents) if path.suffix == ".xz" else contents


def json_texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from json_texts(part)


def lines_of(name, contents):
    # JSON both as its bytes (escapes and all) and as the strings it holds.
    yield from contents.split(b"\n")
    if ".json" in name:
        for text in json_texts(json.loads(contents)):
            yield from text.encode("utf-8", "surrogatepass").split(b"\n")


def random_strings(count, seed):
    rng = random.Random(seed)
    awkward = [*range(0x80), 0xAD, 0x130, 0x131, 0x3A3, 0x3C2, 0x345, 0x37E, 0x387, 0x1E9E, 0x2028, 0x2029, 0x3000, 0x200D,
               0xFEFF, 0xFE0F, 0xFFFD, 0x2260, 0x1FEF, 0x212A, 0x212B, 0x2126, 0xF900, 0x2B820, 0x2B920, 0x2CEAF, 0x1F468,
               0x1F469, 0x1F467, 0x0B78, 0xE000, 0xF0000, 0x10FFFF, 0xE0001, 0x302E, 0x302F, 0x1D165, 0x1D16D, 0x11938,
               0x16FF0, 0x1B44, 0x5BF, 0x9FE, 0xAC00, 0xAC01, 0xD7A3, 0x1100, *range(0x200B, 0x2010), *range(0x300, 0x370)]
    blocks = [(0xA0, 0x250), (0x250, 0x600), (0x600, 0x900), (0x900, 0x1100), (0x1100, 0x1200), (0x1680, 0x2000),
              (0x2000, 0x2070), (0x2070, 0x3000), (0x3000, 0x3400), (0xA640, 0xAC00), (0xAC00, 0xD7B0), (0xF900, 0x10000),
              (0x10000, 0x12000), (0x16E00, 0x17000), (0x1D000, 0x1D200), (0x1E000, 0x1F000), (0x1F300, 0x1FAFF),
              (0x2A000, 0x30000), (0, 0x110000)]
    letters = "abcdefghijklmnopqrstuvwxyzABCXYZ0189 ,.-'"
    specials = SPECIAL + ["[mask]", "[MASK", "[[MASK]]", "##a", "a" * 99, "b" * 100, "c" * 101, "d" * 200, "e" * 201]

    def character():
        kind = rng.random()
        if kind < 0.45:
            return rng.choice(letters)
        if kind < 0.7:
            return chr(rng.choice(awkward))
        if kind < 0.99:
            return chr(rng.randrange(*rng.choice(blocks)))
        return rng.choice(specials)

    for _ in range(count):
        text = "".join(character() for _ in range(rng.randrange(1, 24)))
        line = text.encode("utf-8", "surrogatepass").replace(b"\n", b" ")  # lone surrogates: invalid UTF-8
        if rng.random() < 0.1:
            at = rng.randrange(len(line) + 1)
            line = line[:at] + bytes(rng.choices(range(0x80, 0x100), k=rng.randrange(1, 4))) + line[at:]
        yield line


def compare(encode_lines, vocabulary_file, mode, lowercase, reference, lines):
    """Number of lines that differ; the first few are printed."""
    what = ["offsets"] if mode == "hf" else []
    command = [str(encode_lines), str(vocabulary_file), mode, "uncased" if lowercase else "cased", *what]
    output = subprocess.run(command, input=b"\n".join(lines) + b"\n", capture_output=True, check=True).stdout
    answers = output.decode().split("\n")[:-1]
    assert len(answers) == len(lines), f"{len(lines)} lines in, {len(answers)} out"
    differences = 0
    for line, answer, expected in zip(lines, answers, reference.encode(lines)):
        ids, invalid = answer.split("|")
        got = [int(i) for i in ids.split()]
        replaced = line.decode("utf-8", "replace").count("\ufffd") - line.count("\ufffd".encode())
        if got != expected and mode == "hf" and got[::3] == expected[::3] and HuggingFace.moves_marks(
                line.decode("utf-8", "replace")):
            continue
        if got != expected or int(invalid) != replaced:
            differences += 1
            if differences <= 5:
                text = line.decode("utf-8", "replace")
                print(f"  differs: {ascii(text[:200])}\n    expected {expected[:60]} ({replaced} replaced)\n"
                      f"    got      {got[:60]} ({invalid.strip()} replaced)")
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--encode-lines", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("CLOZE_TEST_DATA"))
    parser.add_argument("--strings", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocabularies", nargs="+", default=[name for name, _, _ in VOCABULARIES])
    parser.add_argument("--modes", nargs="+", default=["hf", "google"])
    arguments = parser.parse_args()
    if arguments.data is None:
        print("[skipped] needs texts and vocabularies: set CLOZE_TEST_DATA")
        return 0
    print(f"tokenizers {tokenizers.__version__}, Python's Unicode {unicodedata.unidata_version}")
    unique = {}
    files = 0
    for name, contents in text_files(arguments.data):
        files += 1
        unique.update(dict.fromkeys(lines_of(name, contents)))
    lines = list(unique)
    print(f"{files} files, {len(lines)} different lines, {sum(map(len, lines)) / 1e6:.1f} MB; {arguments.strings} random strings")
    every_character = [f"a{chr(c)}b".encode() for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c != 10]
    sets = [("text", lines), ("characters", every_character),
            ("random", list(random_strings(arguments.strings, arguments.seed)))]
    total = 0
    for name, file, lowercase in (each for each in VOCABULARIES if each[0] in arguments.vocabularies):
        path = arguments.data / "vocab" / file
        vocabulary = read_vocabulary(path)
        for mode in arguments.modes:
            reference = {"hf": HuggingFace, "google": Google}[mode](vocabulary, lowercase)
            for what, texts in sets:
                start = time.time()
                differences = compare(arguments.encode_lines, path, mode, lowercase, reference, texts)
                total += differences
                print(f"{name:12} {mode:6} {what:10} {len(texts):8} lines {differences:6} differ  "
                      f"{time.time() - start:.0f} s", flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
