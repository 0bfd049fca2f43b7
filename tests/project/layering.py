#!/usr/bin/env python3
"""Walks the sources and fails on an include against the arrows, a forbidden word, a file or a function that is too long.

    python3 tests/project/layering.py [ROOT]

Prints one line per finding, `file:line: rule: what is wrong and what to do`, and exits with 1 if there is any. The rules
are the tables below; tests/project/layering_test.py plants a violation of each and sees it reported.
"""

import re
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

# What each room may include, besides itself: rooms, or one header of a room. The arrows of docs/architecture.md.
KERNELS = ("kernels/core", "kernels/device", "kernels")
ENGINE = ("engine/files", "engine/text", "engine/data", "engine/device", "engine/model", "engine/cluster", "engine/train")
ARROWS = {
    "kernels/core": (),
    "kernels/device": ("kernels/core",),
    "kernels": ("kernels/core",),  # device code (.cu) may include kernels/device too, see may_include
    "engine/files": ("kernels/core",),
    "engine/text": ("kernels/core",),
    "engine/data": ("engine/text", "engine/files", "kernels/core"),
    "engine/device": ("kernels/core", "kernels"),
    "engine/model": ("engine/device", "engine/files", "engine/data/batch.h", "kernels/core", "kernels"),
    "engine/cluster": ("engine/device", "kernels/core", "kernels"),
    "engine/train": ENGINE + ("kernels/core", "kernels"),
    "tools": ENGINE,
    "examples": ENGINE + ("kernels/core",),
    "tests": KERNELS + ENGINE + ("tools", "benchmarks"),
    "benchmarks": KERNELS + ENGINE + ("tools", "tests"),
}
ROOMS = sorted(ARROWS, key=len, reverse=True)  # longest first: "kernels/core" before "kernels"
TOP_FOLDERS = ("kernels", "engine", "tools", "tests", "benchmarks", "examples", "cmake")

LAUNCH_HELPER = "kernels/core/launch.h"
SHARED_MEMORY = "kernels/device/shared.h"
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 60

CPP_SUFFIXES = (".h", ".cpp", ".cu", ".cuh")
SCRIPT_SUFFIXES = (".py", ".sh", ".pl", ".cmake")


class ForbiddenWord(NamedTuple):
    rule: str
    pattern: re.Pattern
    allowed: tuple  # files, or folders ending in "/"
    remedy: str


TOOLS_TESTS_BENCHMARKS = ("tools/", "tests/", "benchmarks/", "examples/")
FORBIDDEN = (
    ForbiddenWord("launch", re.compile(r"<<<|\bcudaLaunch\w+"), (LAUNCH_HELPER,),
                  f"kernels are launched in {LAUNCH_HELPER} alone: call launch()"),
    ForbiddenWord("shared memory", re.compile(r"\b__shared__\b"), (SHARED_MEMORY,),
                  f"shared memory is one arena, named in {SHARED_MEMORY} alone: carve it with SharedArena"),
    ForbiddenWord("asm", re.compile(r"\b(asm|__asm|__asm__)\b"), ("kernels/device/", "tests/emulator/cuda_words.h"),
                  "inline assembly lives in kernels/device/, one instruction per function"),
    ForbiddenWord("allocation", re.compile(r"\bcudaMalloc\w*"), ("kernels/core/",),
                  "device memory comes from kernels/core/"),
    ForbiddenWord("environment", re.compile(r"\b(secure_)?getenv\b"),
                  ("tools/", "tests/", "engine/cluster/environment.cpp"),
                  "the environment is read in tools/ and engine/cluster/environment.cpp; pass the value down"),
    ForbiddenWord("print", re.compile(r"\bv?f?printf\s*\(|\bstd::(cout|cerr|clog)\b"), TOOLS_TESTS_BENCHMARKS,
                  "libraries do not print: return the value, or throw an Error"),
    ForbiddenWord("exit", re.compile(r"\b(exit|_exit|_Exit|quick_exit|abort|terminate)\s*\("), TOOLS_TESTS_BENCHMARKS,
                  "only tools/main.cpp ends the process: throw an Error"),
    ForbiddenWord("process", re.compile(r"\b(signal|sigaction|at(_quick_)?exit|set_terminate|set_new_handler|setlocale|"
                                        r"locale::global|setenv|putenv|unsetenv|chdir|umask|fork|fesetround)\s*\("),
                  TOOLS_TESTS_BENCHMARKS,
                  "signals, locale, environment and folder are the program's that embeds the library: leave them alone"),
    ForbiddenWord("thread", re.compile(r"\bstd::(jthread|thread|async)\b(?!::)"),
                  ("engine/data/", "tools/", "tests/", "benchmarks/"),
                  "threads are started in engine/data/ alone, and as many as the caller asks for"),
    ForbiddenWord("dead code", re.compile(r"^\s*#\s*if\s+(0|false)\b"), (), "delete it: git remembers"),
    ForbiddenWord("macro", re.compile(r"^\s*#\s*define\s+\w+\("), ("tests/",),
                  "write a function or a template instead of a function-like macro"),
)
# Built from halves, so that this file may pass its own rule.
UNFINISHED = re.compile(r"\b(" + "TO" + "DO|FIX" + r"ME)\b")


class Finding(NamedTuple):
    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


def room_of(path: str) -> str:
    return next((room for room in ROOMS if path.startswith(room + "/")), "")


TOKEN = re.compile(
    r"""//[^\n]*                                  # comment to the end of the line
      | /\*.*?\*/                                 # comment
      | \bR"(?P<delimiter>[^\s()\\]{0,16})\(.*?\)(?P=delimiter)"   # raw string
      | "(?:[^"\\\n]|\\.)*"                       # string
      | (?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'       # character, but not the separator in 1'000
    """,
    re.VERBOSE | re.DOTALL)


def without_comments_and_strings(source: str) -> str:
    """The source with comments blanked and strings emptied; every line keeps its number."""

    def blank(match: re.Match) -> str:
        token = match.group()
        newlines = "\n" * token.count("\n")
        return newlines if token.startswith("/") else '""' + newlines

    return TOKEN.sub(blank, source)


def line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1


# Quoted text survives here: an include is a directive, so it is read from the raw line.
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)


def may_include(path: str, target: str) -> bool:
    room, target_room = room_of(path), room_of(target)
    if target_room == room or target_room in ARROWS[room] or target in ARROWS[room]:
        return True
    return room == "kernels" and target_room == "kernels/device" and path.endswith((".cu", ".cuh"))


def include_findings(root: Path, path: str, source: str) -> Iterator[Finding]:
    for match in INCLUDE.finditer(source):
        quoted, target = match.group(1) == '"', match.group(2)
        line = line_at(source, match.start())
        if not room_of(target):
            if quoted:
                yield Finding(path, line, "include", f'"{target}" is not a path from the root of the project; '
                              "write libraries as <...> and our own files from the root")
        elif not quoted:
            yield Finding(path, line, "include", f"<{target}> is ours: write it in quotes")
        elif not (root / target).is_file():
            yield Finding(path, line, "include", f'"{target}" does not exist')
        elif not may_include(path, target):
            yield Finding(path, line, "include", f"{room_of(path)} may not include {room_of(target)} "
                          f'("{target}"); the arrows are in docs/architecture.md')


def word_findings(path: str, code: str) -> Iterator[Finding]:
    for word in FORBIDDEN:
        if any(path == place or (place.endswith("/") and path.startswith(place)) for place in word.allowed):
            continue
        for number, line in enumerate(code.split("\n"), 1):
            match = word.pattern.search(line)
            if match:
                yield Finding(path, number, word.rule, f"`{match.group().strip()}`: {word.remedy}")


def text_findings(path: str, source: str) -> Iterator[Finding]:
    lines = source.count("\n") + (0 if source.endswith("\n") or not source else 1)
    if lines > MAX_FILE_LINES:
        yield Finding(path, lines, "file length", f"{lines} lines, at most {MAX_FILE_LINES}: split it by what it does")
    for match in UNFINISHED.finditer(source):
        yield Finding(path, line_at(source, match.start()), "unfinished",
                      f"`{match.group()}`: finish it, or describe it as an issue")


NAMED_TEST = re.compile(r"\btests/[\w/]+\.(?:cpp|py|sh)\b")


def named_test_findings(root: Path, path: str, source: str) -> Iterator[Finding]:
    """"Tested by tests/..." in a comment is a promise."""
    for number, line in enumerate(source.split("\n"), 1):
        for name in NAMED_TEST.findall(line) if line.lstrip().startswith(("//", "#")) else ():
            if not (root / name).is_file():
                yield Finding(path, number, "named test", f"{name} does not exist")


NAMED_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum)\b|\bextern\s*\"\"")
MEMBER_INITIALIZER = re.compile(r"\)[^()]*[:,]\s*[\w:]+(<[^()]*>)?\s*$")


def scope_kind(head: str, inside: str) -> str:
    """What a `{` opens, from the text since the last statement ended and the scope it stands in."""
    if inside not in ("", "named"):
        return "block"
    before_call = head.split("(", 1)[0]
    if "(" in head and "=" not in before_call.replace("operator==", "").replace("operator=", ""):
        return "initializer" if MEMBER_INITIALIZER.search(head) else "function"
    return "named" if NAMED_SCOPE.search(head) else "initializer"


def function_findings(path: str, code: str) -> Iterator[Finding]:
    """Functions by their braces: a `{` at namespace or class scope after a parameter list."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group().count("\n"), code, flags=re.MULTILINE)
    scopes = []  # (kind, line of `{`, head)
    head, line = "", 1
    for character in code:
        if character == "\n":
            line += 1
        if character == "{":
            scopes.append((scope_kind(head, scopes[-1][0] if scopes else ""), line, head))
            head = ""
        elif character == "}" and scopes:
            kind, first, opened_by = scopes.pop()
            head = opened_by + "{}" if kind == "initializer" else ""
            if kind == "function" and line - first + 1 > MAX_FUNCTION_LINES:
                name = " ".join(opened_by.split("(", 1)[0].split()[-1:]) or "function"
                yield Finding(path, first, "function length",
                              f"{name} has {line - first + 1} lines, at most {MAX_FUNCTION_LINES}: name its parts")
        elif character == ";":
            head = ""
        else:
            head += character


def sources(root: Path) -> Iterator[Path]:
    for folder in TOP_FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            if file.is_file() and (file.suffix in CPP_SUFFIXES + SCRIPT_SUFFIXES or file.name == "CMakeLists.txt"):
                yield file


def findings(root: Path) -> Iterator[Finding]:
    for file in sources(root):
        path = file.relative_to(root).as_posix()
        source = file.read_text(encoding="utf-8")
        yield from text_findings(path, source)
        yield from named_test_findings(root, path, source)
        if file.suffix in CPP_SUFFIXES:
            code = without_comments_and_strings(source)
            yield from include_findings(root, path, source)
            yield from word_findings(path, code)
            yield from function_findings(path, code)


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    found = list(findings(root))
    for finding in found:
        print(finding)
    print(f"{len(found)} findings in {sum(1 for _ in sources(root))} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
