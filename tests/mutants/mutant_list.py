"""Reads lists of mutants: defects to plant in device code, each with the test that must fail and how.

A mutant is a name at the start of a line, then indented lines:

    warp_sum without the step of 16 lanes
      in kernels/device/warp.h: inline float warp_sum(
      - kWarpThreads / 2
      + kWarpThreads / 4
      caught as wrong numbers by shuffles, votes and warp reductions equal loops over the lanes

`in` names the file and, where the original stands in it more than once, some text: then the original is looked for from
there to the end of that function or struct. `-` is the original, `+` the defect, both of one or more lines; blanks and
line ends count as one blank. An original that ends in `;` or `}` is made of statements, any other is an expression;
without `+` the statements are left out. A comment at the end of an original helps to find it. A mutant may have several
such places. The test is a name as Catch2 takes it: `*` stands for any beginning or end. Lines that start with `#`, and
blank ones, are for the reader.
"""

import re
from pathlib import Path
from typing import List, NamedTuple

FINDINGS = ("wrong numbers", "other bits", "race", "race with a copy", "missing fence", "deadlock", "divergence",
            "stray access", "early access", "misaligned access")


class ListError(Exception):
    """What is wrong with a list, as `file:line: why`."""


class Place(NamedTuple):
    line: int  # of the list
    file: str
    scope: str  # "": the whole file
    original: str
    defect: str


class Mutant(NamedTuple):
    list_file: Path
    line: int
    name: str
    places: List[Place]
    finding: str
    test: str


def joined(lines: list) -> str:
    return "\n".join(lines)


def parsed_place(lines: list) -> Place:
    number, head = lines[0]
    file, _, scope = head.partition(": ")
    originals = [text[2:] for _, text in lines[1:] if text.startswith("- ")]
    defects = [text[2:] for _, text in lines[1:] if text.startswith("+ ")]
    return Place(number, file, scope.strip(), joined(originals), joined(defects))


def parsed_mutant(list_file: Path, lines: list) -> Mutant:
    def wrong(number: int, why: str) -> ListError:
        return ListError(f"{list_file}:{number}: {why}")

    (first, name), body = lines[0], lines[1:]
    groups, caught = [], None
    for number, text in body:
        found = re.fullmatch(r"caught as (.+?) by (.+)", text)
        if text.startswith("in "):
            groups.append([(number, text[3:])])
        elif text.startswith(("- ", "+ ")) and groups and caught is None:
            groups[-1].append((number, text))
        elif found and groups and caught is None:
            caught = found
            if found.group(1) not in FINDINGS:
                raise wrong(number, f"`{found.group(1)}` is none of: {', '.join(FINDINGS)}")
        else:
            raise wrong(number, f"`{text}` is none of these, in this order: in FILE, - original, + defect, "
                        "caught as FINDING by TEST")
    if caught is None:
        raise wrong(first, f"`{name}` does not say what catches it: caught as FINDING by TEST")
    places = [parsed_place(group) for group in groups]
    for place in places:
        if not place.original:
            raise wrong(place.line, f"`{name}` has no original: - TEXT")
        if not place.defect and not is_statement(place.original):
            raise wrong(place.line, f"`{name}` leaves out an expression: say what stands there instead, + TEXT")
        for text in (place.original, place.defect):
            if text and not is_statement(place.original) and not is_expression(text):
                raise wrong(place.line, f"`{name}`: `{text}` is no expression that can stand alone")
        if "//" in place.defect:
            raise wrong(place.line, f"`{name}`: no comments in a defect, its lines become one")
    return Mutant(list_file, first, name, places, caught.group(1), caught.group(2))


def without_last_comment(code: str) -> str:
    """Without the comment at its end: it helps to find the place, and stays."""
    lines = code.split("\n")
    return joined([*lines[:-1], lines[-1].split("//")[0]]).rstrip()


def is_statement(original: str) -> bool:
    return without_last_comment(original).endswith((";", "}"))


def is_expression(text: str) -> bool:
    """Brackets close, and no comma or semicolon stands outside of them."""
    open_brackets = []
    for character in text:
        if character in "([{":
            open_brackets.append(character)
        elif character in ")]}":
            if not open_brackets or open_brackets.pop() + character not in ("()", "[]", "{}"):
                return False
        elif character in ",;" and not open_brackets:
            return False
    return not open_brackets


def read_list(list_file: Path) -> List[Mutant]:
    entries = []
    for number, line in enumerate(list_file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith(" "):
            entries.append([(number, line.strip())])
        elif entries:
            entries[-1].append((number, line.strip()))
        else:
            raise ListError(f"{list_file}:{number}: the name of a mutant comes first, at the start of a line")
    return [parsed_mutant(list_file, entry) for entry in entries]


def read_lists(list_files: list) -> List[Mutant]:
    mutants = [mutant for file in list_files for mutant in read_list(Path(file))]
    first_of = {}
    for mutant in mutants:
        earlier = first_of.setdefault(mutant.name, mutant)
        if earlier is not mutant:
            raise ListError(f"{mutant.list_file}:{mutant.line}: `{mutant.name}` is also the name of a mutant at "
                            f"{earlier.list_file}:{earlier.line}")
    return mutants
