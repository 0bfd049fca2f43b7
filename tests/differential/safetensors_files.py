#!/usr/bin/env python3
"""Compares the safetensors reader and writer with the PyPI package, both ways.

    tests/differential/safetensors_files.py --peer build/bin/safetensors_peer [--files 300] [--damages 5000] [--seed 1]

Files of random tensors (every type both sides know, empty, scalar, awkward names, metadata), written by the package: the
reader gives the same names, types, shapes, bytes, metadata and float32 values; the copy our writer makes loads in the
package with the same contents. Damaged headers: both accept or both refuse, but for the reasons stated below. Exit status 1 on any difference.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import safetensors
import safetensors.torch
import torch

TYPES = {"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16,
         "I32": torch.int32, "U32": torch.uint32, "I64": torch.int64, "U64": torch.uint64, "F16": torch.float16,
         "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn,
         "F8_E5M2": torch.float8_e5m2}
FLOATS = ("F16", "BF16", "F32", "F64")
# Where our reader is stricter, by the words of its refusal.
STRICTER = ("stands here for the second time",  # the format forbids duplicate keys; the package keeps the last
            "does not start with '{'",          # a rule of the format's description
            "is not supported",                 # element types narrower than a byte, complex numbers
            "objects and arrays inside each other")
# Where it is laxer, by the words of the package's refusal: "-0" is an integer for us.
LAXER = ("floating point `-0.0`",)


class Peer:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def raw(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def random_tensor(rng, kind):
    shape = [rng.choice([0, 1, 1, 2, 3, 5, 7, 8]) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4]))]
    size = torch.empty(shape, dtype=TYPES[kind]).element_size()
    count = 1
    for dimension in shape:
        count *= dimension
    data = bytes(rng.randrange(2) if kind == "BOOL" else rng.randrange(256) for _ in range(count * size))
    if not data:
        return torch.empty(shape, dtype=TYPES[kind])
    return torch.frombuffer(bytearray(data), dtype=TYPES[kind]).reshape(shape)


def random_file(rng, path):
    kinds = rng.choices(list(TYPES), k=rng.randrange(12))
    names = [rng.choice(["", "a", "bert.encoder.layer.%d.weight", "\u00e9\u4e2d\U0001f600", 'q"\\\n\t', " "]) + str(i)
             for i in range(len(kinds))]
    tensors = {name.replace("%d", "0"): random_tensor(rng, kind) for name, kind in zip(names, kinds)}
    metadata = rng.choice([None, {"format": "pt"}, {"a": "", "\u00fc": "\n\"", "z": "x" * 300}])
    safetensors.torch.save_file(tensors, path, metadata)
    return tensors, metadata or {}


def load(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def same(ours, theirs):
    return (ours.keys() == theirs.keys() and
            all(ours[n].dtype == theirs[n].dtype and ours[n].shape == theirs[n].shape and raw(ours[n]) == raw(theirs[n])
                for n in ours))


def compare_contents(peer, rng, folder, number):
    path, copy = folder / f"{number}.safetensors", folder / f"{number}-copy.safetensors"
    tensors, metadata = random_file(rng, path)
    seen = peer.ask("list", path)
    if "error" in seen:
        return [f"{path}: refused: {seen['error']}"]
    differences = []
    if seen["metadata"] != metadata or seen["tensors"].keys() != tensors.keys():
        differences.append(f"{path}: metadata or names differ")
    for name, tensor in tensors.items():
        entry = seen["tensors"].get(name, {})
        kind = entry.get("dtype")
        if TYPES.get(kind) != tensor.dtype or entry["shape"] != list(tensor.shape):
            differences.append(f"{path}: {name!r}: {entry} instead of {tensor.dtype} {list(tensor.shape)}")
        elif bytes.fromhex(entry["bytes"]) != raw(tensor):
            differences.append(f"{path}: {name!r}: the bytes differ")
        elif kind in FLOATS:
            found = torch.frombuffer(bytearray(bytes.fromhex(entry["f32"])), dtype=torch.float32) \
                if tensor.numel() else torch.empty(0)
            # Signalling NaNs may become quiet ones: values, not payloads.
            if not torch.equal(found.nan_to_num(nan=123.0), tensor.flatten().to(torch.float32).nan_to_num(nan=123.0)):
                differences.append(f"{path}: {name!r}: the float32 values differ")
    rewritten = peer.ask("rewrite", path, copy)
    if "error" in rewritten:
        return differences + [f"{path}: not rewritten: {rewritten['error']}"]
    back, back_metadata = load(copy)
    if not same(back, tensors) or back_metadata != metadata:
        differences.append(f"{copy}: the package reads something else than was written")
    if (8 + struct.unpack("<Q", copy.read_bytes()[:8])[0]) % 8:
        differences.append(f"{copy}: the data are not aligned")
    return differences


def damaged(rng, good):
    """Changes inside the header, which keeps its length field right half of the time."""
    length = struct.unpack("<Q", good[:8])[0]
    header, data = bytearray(good[8:8 + length]), good[8 + length:]
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(header))
        action = rng.randrange(6)
        if action == 0:
            header[at] = rng.randrange(256)
        elif action == 1:
            digits = [i for i, c in enumerate(header) if 48 <= c <= 57]
            header[rng.choice(digits or [at])] = rng.choice(b"0123456789")
        elif action == 2:
            del header[at:at + rng.randrange(1, 8)]
        elif action == 3:
            header[at:at] = header[rng.randrange(len(header)):][:rng.randrange(1, 40)]
        elif action == 4:
            header[at] ^= 1 << rng.randrange(8)
        else:
            header[at:at] = rng.choice([b" ", b"0", b"-", b",", b"\"a\":", b"[", b"null", b"1e3", b"18446744073709551615"])
        if not header:
            header = bytearray(b"{}")
    return struct.pack("<Q", len(header) if rng.random() < 0.9 else length) + bytes(header) + data


def compare_damages(peer, rng, folder, count):
    differences, agreed, stated = [], {True: 0, False: 0}, 0
    sources = [path.read_bytes() for path in sorted(folder.glob("*-copy.safetensors"))[:60]]
    path = folder / "damaged.safetensors"
    for number in range(count):
        contents = damaged(rng, rng.choice(sources))
        path.write_bytes(contents)
        seen = peer.ask("list", path)
        try:
            theirs = {name for name, _ in safetensors.deserialize(contents)}
        except Exception as error:
            theirs, reason = None, str(error)
        if "error" in seen and theirs is None:
            agreed[False] += 1
        elif "error" not in seen and theirs is not None and theirs == seen["tensors"].keys():
            agreed[True] += 1
        elif "error" in seen and any(words in seen["error"] for words in STRICTER):
            stated += 1
        elif "error" not in seen and theirs is None and any(words in reason for words in LAXER):
            stated += 1
        else:
            kept = folder / f"difference-{number}.safetensors"
            kept.write_bytes(contents)
            differences.append(f"damage {number}: ours {seen.get('error', 'accepts')}; the package "
                               f"{'accepts' if theirs is not None else reason}; {contents[8:400]!r}")
    print(f"{count} damaged headers: both accept {agreed[True]}, both refuse {agreed[False]}, as stated one of them {stated}")
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--damages", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    peer = Peer(arguments.peer)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        differences = [d for n in range(arguments.files) for d in compare_contents(peer, rng, folder, n)]
        print(f"{arguments.files} files written by safetensors {safetensors.__version__}, read, rewritten, read back")
        differences += compare_damages(peer, rng, folder, arguments.damages)
    for difference in differences[:20]:
        print(difference)
    print(f"{len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
