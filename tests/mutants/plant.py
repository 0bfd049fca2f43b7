#!/usr/bin/env python3
"""Copies device code into a folder with all mutants planted, asleep until the environment names one.

    plant.py --root ROOT --output FOLDER --lists LIST... --files FILE...

FILEs are paths from ROOT. In the copies a place reads `{ if (mutant_is(17)) { defect } else { original } }`, or
`(mutant_is(17) ? (defect) : (original))` for an expression; lines keep their numbers, and #line their file. Also writes
FOLDER/mutant_names.cpp. Exits with 1 if an original does not stand exactly once where its mutant says: the code has
moved on, and the list must follow. Tested by tests/mutants/scripts_test.py.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import List, NamedTuple

from mutant_list import ListError, Mutant, Place, is_statement, read_lists, without_last_comment

TOP_LEVEL_END = re.compile(r"^\}", re.MULTILINE)


class Planted(NamedTuple):
    start: int
    end: int
    number: int
    place: Place


def pattern_of(text: str) -> re.Pattern:
    words = r"\s+".join(re.escape(word) for word in text.split())
    return re.compile((r"(?<!\w)" if text[:1].isalnum() else "") + words + (r"(?!\w)" if text[-1:].isalnum() else ""))


def only_match(text: str, source: str, start: int, end: int) -> re.Match:
    """None unless it stands there exactly once."""
    matches = list(pattern_of(text).finditer(source, start, end))
    return matches[0] if len(matches) == 1 else None


def located(number: int, mutant: Mutant, place: Place, source: str) -> Planted:
    def wrong(what: str) -> ListError:
        return ListError(f"{mutant.list_file}:{place.line}: `{mutant.name}`: {what} in {place.file}, "
                         "not exactly once; follow what has changed there")

    start, end = 0, len(source)
    if place.scope:
        opening = only_match(place.scope, source, start, end)
        if opening is None:
            raise wrong(f"`{place.scope}` stands {len(pattern_of(place.scope).findall(source))} times")
        start = opening.start()
        closing = TOP_LEVEL_END.search(source, start)
        end = closing.start() + 1 if closing else end
    match = only_match(place.original, source, start, end)
    if match is None:
        count = len(pattern_of(place.original).findall(source, start, end))
        raise wrong(f"the original stands {count} times" + (f" after `{place.scope}`" if place.scope else ""))
    return Planted(match.start(), match.start() + len(without_last_comment(match.group())), number, place)


def rendered(source: str, start: int, end: int, planted: List[Planted]) -> str:
    """source[start:end] with the places in it, which may lie inside of each other."""
    text = ""
    while planted:
        first = planted[0]
        inside = [other for other in planted[1:] if other.start < first.end]
        planted = planted[1 + len(inside):]
        original = rendered(source, first.start, first.end, inside)
        defect = " ".join(first.place.defect.split())
        text += source[start:first.start]
        if is_statement(first.place.original):
            text += f"{{ if (mutant_is({first.number})) {{ {defect} }} else {{ {original} }} }}"
        else:
            text += f"(mutant_is({first.number}) ? ({defect}) : ({original}))"
        start = first.end
    return text + source[start:end]


def with_mutants(source: str, planted: List[Planted]) -> str:
    planted = sorted(planted, key=lambda p: (p.start, -p.end))
    for at, first in enumerate(planted):
        for other in planted[at + 1:]:
            if first.start < other.start < first.end < other.end:
                raise ListError(f"{other.place.file}: two originals overlap, and neither holds the other: "
                                f"`{first.place.original}` and `{other.place.original}`")
    return rendered(source, 0, len(source), planted)


def write_if_new(file: Path, text: str) -> None:
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def names_source(mutants: List[Mutant]) -> str:
    names = "".join(f'    "{mutant.name}",\n' for mutant in mutants)
    return (f'#include "tests/mutants/mutant.h"\n\nconst char* const cloze::kMutantNames[] = {{\n{names}}};\n'
            f"const int cloze::kMutants = {len(mutants)};\n")


def plant(root: Path, output: Path, lists: list, files: list) -> None:
    mutants = read_lists(lists)
    sources = {file: (root / file).read_text(encoding="utf-8") for file in files}
    planted = {file: [] for file in files}
    stale = []
    for number, mutant in enumerate(mutants):
        for place in mutant.places:
            if place.file not in sources:
                raise ListError(f"{mutant.list_file}:{place.line}: {place.file} is no device code of this build")
            try:
                planted[place.file].append(located(number, mutant, place, sources[place.file]))
            except ListError as error:
                stale.append(str(error))
    if stale:
        raise ListError("\n".join(stale))
    for file, source in sources.items():
        write_if_new(output / file, f'#line 1 "{root / file}"\n' + with_mutants(source, planted[file]))
    write_if_new(output / "mutant_names.cpp", names_source(mutants))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lists", nargs="+", required=True)
    parser.add_argument("--files", nargs="+", required=True)
    arguments = parser.parse_args()
    try:
        plant(arguments.root, arguments.output, arguments.lists, arguments.files)
    except ListError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
