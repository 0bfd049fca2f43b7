#!/usr/bin/env python3
"""Makes engine/text/unicode_{shared,google,huggingface}.cpp by asking both reference tokenizers about every code point.

Mode google follows Python's unicodedata (CPython 3.11: Unicode 14.0); mode hf follows HuggingFace `tokenizers`, whose
crates carry tables of several Unicode versions. Nothing is derived from a standard: what the reference does is what is
written down, so the tables are right by construction and stay right whatever library a machine has.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tools/unicode/make_tables.py engine/text
"""
import contextlib
import pathlib
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)


def is_ascii_punctuation(c):
    return 33 <= c <= 47 or 58 <= c <= 64 or 91 <= c <= 96 or 123 <= c <= 126


class Google:
    """google-research/bert tokenization.py under this Python."""

    version = "Unicode " + ".".join(unicodedata.unidata_version.split(".")[:2])
    cjk = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
           (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]

    def __init__(self):
        category = {c: unicodedata.category(chr(c)) for c in CODE_POINTS}
        self.dropped = {c for c in CODE_POINTS if category[c] in ("Cc", "Cf") and c not in (9, 10, 13)} | {0, 0xFFFD}
        # str.split() cuts at more than Zs: whatever survives the cleaning and is white space to it.
        self.space = {c for c in CODE_POINTS if category[c] == "Zs" or chr(c).isspace()} - self.dropped
        self.cjk = {c for first, last in self.cjk for c in range(first, last + 1)}
        self.punctuation = {c for c in CODE_POINTS if is_ascii_punctuation(c) or category[c].startswith("P")}
        self.nonspacing = {c for c in CODE_POINTS if category[c] == "Mn"}
        self.combining = {c: unicodedata.combining(chr(c)) for c in CODE_POINTS}
        self.decomposed = {c: unicodedata.normalize("NFD", chr(c)) for c in CODE_POINTS}
        self.lower = {c: chr(c).lower() for c in CODE_POINTS}
        # The final sigma asks whether its neighbours are cased or ignorable, which Python does not expose: ask a sigma.
        self.cased = {c for c in CODE_POINTS if (chr(c) + "\u03a3").lower()[-1] == "\u03c2"}
        self.ignorable = {c for c in CODE_POINTS if ("A" + chr(c) + "\u03a3").lower()[-1] == "\u03c2"} - self.cased

    def stripped(self, c):
        return "".join(d for d in self.decomposed[c] if ord(d) not in self.nonspacing)


class HuggingFace:
    """BertNormalizer and BertPreTokenizer of the installed `tokenizers`."""

    def __init__(self):
        def only(**flag):
            flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
            return normalizers.BertNormalizer(**{**flags, **flag}).normalize_str

        clean, chinese = only(clean_text=True), only(handle_chinese_chars=True)
        strip, lower = only(strip_accents=True), only(lowercase=True)
        cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
        cleaned = {c: clean("a" + chr(c) + "b") for c in CODE_POINTS}
        self.dropped = {c for c in CODE_POINTS if cleaned[c] == "ab"}
        self.space = {c for c in CODE_POINTS if cleaned[c] == "a b"}
        self.cjk = {c for c in CODE_POINTS if chinese(chr(c)) != chr(c)}
        self.punctuation = {c for c in CODE_POINTS if len(cut("a" + chr(c) + "b")) == 3}
        white = {c for c in CODE_POINTS if len(cut("a" + chr(c) + "b")) == 2}
        assert white <= self.space | self.dropped
        self.strip = {c: strip(chr(c)) for c in CODE_POINTS}
        self.decomposed = {c: normalizers.NFD().normalize_str(chr(c)) for c in CODE_POINTS}
        self.lower = {c: lower(chr(c)) for c in CODE_POINTS}
        self.combining = self.combining_classes()
        self.version = f"tokenizers {tokenizers.__version__}"
        self.cased = self.ignorable = set()  # Rust lower-cases character by character

    def stripped(self, c):
        return self.strip[c]

    @staticmethod
    def combining_classes():
        """The class of every character, from how canonical ordering sorts it among reference marks."""
        order = normalizers.NFD().normalize_str
        reference = {}
        for c in range(0x3000):
            if order(chr(c)) == chr(c) and order("a\u0345" + chr(c)) != "a\u0345" + chr(c):
                reference.setdefault(unicodedata.combining(chr(c)), chr(c))
        reference[240] = "\u0345"
        classes = {}
        for c in CODE_POINTS:
            x, classes[c] = chr(c), 0
            if order(x) != x:
                continue  # decomposes: only its parts are ordered
            if order("a" + x + "\u0334") == "a" + x + "\u0334" and order("a\u0345" + x) == "a\u0345" + x:
                classes[c] = unicodedata.combining(x) if x in ("\u0345",) else 0
                continue
            below = {v for v, mark in reference.items() if order("a" + x + mark) != "a" + x + mark}
            above = {v for v, mark in reference.items() if order("a" + mark + x) != "a" + mark + x}
            value = unicodedata.combining(x)
            assert below == {v for v in reference if v < value} and above == {v for v in reference if v > value}, hex(c)
            classes[c] = value
        return classes


def ranges(code_points):
    found = []
    for c in sorted(code_points):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def shifts(lower):
    """Single-character mappings as (first, last, step, delta)."""
    found = []
    for c in sorted(lower):
        delta = lower[c] - c
        if found:
            first, last, step, previous = found[-1]
            gap = c - last
            if delta == previous and (gap == step or (first == last and gap <= 2)):
                found[-1] = [first, c, gap, delta]
                continue
        found.append([c, c, 1, delta])
    return found


EMPTY = set()  # C++ has no empty arrays: these become {}


RANGES = ["Dropped", "Space", "Cjk", "Punctuation", "Cased", "Ignorable", "Marks"]


@contextlib.contextmanager
def written(path, what):
    EMPTY.clear()
    with path.open("w") as file, contextlib.redirect_stdout(file):
        print(f"""// {what} Generated by tools/unicode/make_tables.py from Python's
// unicodedata {unicodedata.unidata_version} and HuggingFace tokenizers {tokenizers.__version__}; never edited by hand.
// clang-format off
#include "engine/text/unicode_tables.h"

namespace cloze {{
namespace {{
""")
        yield
        print("\n}  // namespace cloze")


def definition(what, version, names):
    fields = [f'"{version}"'] * (version is not None) + ["{}" if name in EMPTY else name for name in names]
    print("}  // namespace\n\nconst " + what + " = {")
    print("".join(f"    {field},\n" for field in fields) + "};")


def table(kind, name, rows):
    if not rows:
        EMPTY.add(name)
        return
    line = "   "
    print(f"constexpr {kind} {name}[] = {{")
    for row in rows:
        item = " {" + ",".join(row) + "},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "\n};\n")


def code(c):
    return f"0x{c:X}"


def range_table(name, code_points):
    table("CodeRange", name, [(code(a), code(b)) for a, b in ranges(code_points)])


def letter_tables(name, pairs):
    """Mappings to one character, and to several."""
    table("CodePair", f"{name}Letters", [(code(c), code(ord(to))) for c, to in sorted(pairs.items()) if len(to) == 1])
    several = {c: to for c, to in pairs.items() if len(to) > 1}
    table("CodeSequence", f"{name}Sequences",
          [(code(c), f'U"{"".join(f"{chr(92)}U{ord(d):08X}" for d in to)}"') for c, to in sorted(several.items())])


def check_hangul(mode):
    for c in HANGUL:
        syllable = c - 0xAC00
        parts = [0x1100 + syllable // 588, 0x1161 + syllable % 588 // 28, 0x11A7 + syllable % 28]
        assert mode.stripped(c) == "".join(map(chr, parts[:2 if syllable % 28 == 0 else 3])), hex(c)


def main(folder):
    google, hf = Google(), HuggingFace()
    modes = {"Google": google, "HuggingFace": hf}
    stripped = {}
    lowered = {}
    for name, mode in modes.items():
        check_hangul(mode)
        mode.marks = {c for c in CODE_POINTS if mode.stripped(c) == ""}
        stripped[name] = {c: mode.stripped(c) for c in CODE_POINTS
                          if c not in HANGUL and mode.stripped(c) not in ("", chr(c))}
        lowered[name] = {c: to for c, to in mode.lower.items() if to != chr(c)}
        assert [c for c, to in lowered[name].items() if len(to) != 1] == [0x130], "lower-casing to several characters"
        assert not any(mode.combining[c] for c in lowered[name]), "canonical ordering would see the lower case"
        assert not any(mode.combining[ord(d)] for c, to in stripped[name].items() for d in to[:1] if ord(d) not in mode.marks)
    common = {c: to for c, to in stripped["Google"].items() if stripped["HuggingFace"].get(c) == to}
    common_lower = {c: ord(to) for c, to in lowered["Google"].items() if lowered["HuggingFace"].get(c) == to and c != 0x130}

    with written(folder / "unicode_shared.cpp", "What both reference tokenizers know about characters."):
        letter_tables("kStripped", common)
        table("CodeShift", "kLower", [(code(a), code(b), str(s), str(d)) for a, b, s, d in shifts(common_lower)])
        definition("SharedUnicodeTables kSharedTables", None, ["kStrippedLetters", "kStrippedSequences", "kLower"])
    for name, mode in modes.items():
        with written(folder / f"unicode_{name.lower()}.cpp", f"What the tokenizer of {name} knows about characters."):
            for what in RANGES:
                range_table("k" + what, getattr(mode, what.lower()))
            range_table("kMarksOfClassZero", {
                c for c in mode.marks if any(mode.combining[ord(d)] == 0 for d in mode.decomposed[c])})
            kept = {c: v for c, v in mode.combining.items()
                    if v and c not in mode.marks and c not in mode.dropped and mode.stripped(c) != ""}
            table("CodePair", "kKeptMarks", [(code(c), str(v)) for c, v in sorted(kept.items())])
            letter_tables("kStripped", {c: to for c, to in stripped[name].items() if common.get(c) != to})
            lower = {c: ord(to) for c, to in lowered[name].items() if c != 0x130 and c not in common_lower}
            table("CodeShift", "kLower", [(code(a), code(b), str(s), str(d)) for a, b, s, d in shifts(lower)])
            definition(f"UnicodeTables k{name}Tables", mode.version, ["k" + what for what in RANGES] + [
                "kMarksOfClassZero", "kKeptMarks", "kStrippedLetters", "kStrippedSequences", "kLower"])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
