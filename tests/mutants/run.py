#!/usr/bin/env python3
"""Runs the tests that must catch the mutants: first with none awake, which must pass, then with each of them, which
must fail as its list says.

    run.py [--jobs N] [--every N] MUTANTS_TEST LIST...

--every 4 takes every fourth mutant, unless CLOZE_TEST_LONG is set. Prints a line for each with what caught it. Exits
with 1 if one survives, or is caught as something else, and the tests must then become sharper: a mutant that no test
notices is a defect that no test would notice. Tested by tests/mutants/scripts_test.py.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from mutant_list import ListError, Mutant, read_lists

TIMEOUT_SECONDS = 120

# The emulator's faults, by their words; the first that fits counts.
FAULTS = (
    ("missing fence", r"missing fence"),
<<<<<<< HEAD
    ("race with a copy", r"race on .* by a copy of (thread|the copy engine)"),
    ("race", r"race on |of a wgmma in flight|returns while (its|a|thread)|before it is known to run"),
=======
    ("race with a copy", r"race on .* by a copy of thread"),
    ("race", r"race on |of a wgmma in flight|returns while (a|thread)|before it is known to run"),
>>>>>>> hopper_device
    ("deadlock", r"deadlock in block"),
    ("divergence", r"divergent (warp|block)|has returned|are not whole warps|threads expected here"),
    ("misaligned access", r"not aligned to \d+"),
    ("stray access", r"(reads|writes) \d+ bytes (at byte|of host memory)|bytes of shared memory, a block has at most|"
     r"lies outside of an array"),
    ("early access", r"before it has waited for the kernel before"),
)


class Run(NamedTuple):
    finding: str  # "": the test passed
    words: str


def finding_of(failure: str) -> str:
    """What kind of failure a line of Catch2's compact reporter tells of."""
    fault = re.search(r"unexpected exception with message: '(.*)", failure)
    if fault:
        return next((name for name, words in FAULTS if re.search(words, fault.group(1))), "another exception")
    check = failure.split(" with ")[0]
    if "guards_hold" in check or "canaries_hold" in check:
        return "stray access"
    return "other bits" if "same_bits" in check else "wrong numbers"


def judged(code: int, output: str) -> Run:
    failure = next((line for line in output.splitlines() if ": failed: " in line), "")
    if failure:
        return Run(finding_of(failure), re.sub(r"^\S*/", "", failure).replace(": failed:", ":"))
    if code != 0 or "No test cases matched" in output or "assertion" not in output:
        return Run("no result", f"exit code {code}: " + " ".join(output.split())[-400:])
    return Run("", "")


def run_test(executable: str, test: str, mutant: str) -> Run:
    environment = {"CLOZE_TEST_SCHEDULES": "4", "OMP_NUM_THREADS": "1", **os.environ}
    for name in ("CLOZE_MUTANT", "CLOZE_TEST_LONG"):  # a quick test catches as much
        environment.pop(name, None)
    if mutant:
        environment["CLOZE_MUTANT"] = mutant
    command = [executable, test.replace(",", "\\,"), "--reporter", "compact", "--abort"]
    try:
        process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Run("no result", f"no end within {TIMEOUT_SECONDS} s")
    return judged(process.returncode, process.stdout.decode("utf-8", "replace"))


def report(mutant: Mutant, run: Run) -> bool:
    words = run.words if len(run.words) <= 300 else run.words[:300] + "..."
    if run.finding == mutant.finding:
        print(f"caught    {mutant.name}\n          {run.finding}: {words}")
    elif run.finding:
        print(f"OTHERWISE {mutant.name}\n          expected {mutant.finding}, got {run.finding}: {words}")
    else:
        print(f"SURVIVED  {mutant.name}\n          `{mutant.test}` passes; it is at {mutant.list_file}:{mutant.line}")
    return run.finding == mutant.finding


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("executable")
    parser.add_argument("lists", nargs="+")
    arguments = parser.parse_args(arguments)
    try:
        mutants = read_lists(arguments.lists)
    except ListError as error:
        print(error)
        return 1
    if "CLOZE_TEST_LONG" not in os.environ:
        mutants = mutants[::arguments.every]
    tests = sorted({mutant.test for mutant in mutants})
    with ThreadPoolExecutor(arguments.jobs) as pool:
        failing = False
        for test, run in zip(tests, pool.map(lambda test: run_test(arguments.executable, test, ""), tests)):
            if run.finding:
                failing = True
                print(f"FAILS     `{test}` without any mutant\n          {run.finding}: {run.words}")
        if failing:
            print(f"0 of {len(mutants)} mutants caught: tests fail without any")
            return 1
        runs = pool.map(lambda mutant: run_test(arguments.executable, mutant.test, mutant.name), mutants)
        caught = sum(report(mutant, run) for mutant, run in zip(mutants, runs))
    print(f"{caught} of {len(mutants)} mutants caught")
    return 0 if caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
