#!/usr/bin/env python3
"""Counts what a test run left behind: passed, failed, skipped with reasons.

    python3 tests/project/summary.py RESULTS_FOLDER

RESULTS_FOLDER holds one JUnit file per ctest run (NAME.xml) and checks.txt with lines `passed|failed|skipped NAME: reason`.
Exits with 1 if anything failed, or if nothing ran. Tested by tests/project/summary_test.py.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

OUTCOMES = ("passed", "failed", "skipped")


class Case(NamedTuple):
    run: str
    name: str
    outcome: str
    reason: str


def ctest_cases(file: Path) -> list:
    cases = []
    for case in ElementTree.parse(file).iter("testcase"):
        skipped = re.search(r"\[skipped\] *(.*)", case.findtext("system-out") or "")
        status, reason = case.get("status"), ""
        if status == "run":
            outcome = "passed"
        elif status == "notrun" and skipped:
            outcome, reason = "skipped", skipped.group(1)
        else:  # also what ctest could not start
            outcome = "failed"
        cases.append(Case(file.stem, case.get("name", "?"), outcome, reason))
    return cases


def check_cases(file: Path) -> list:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    parsed = [re.fullmatch(r"(passed|failed|skipped) ([^:]+):? ?(.*)", line).groups() for line in lines]
    return [Case("checks", name, outcome, reason) for outcome, name, reason in parsed]


def counts(cases: list) -> str:
    return ", ".join(f"{sum(case.outcome == outcome for case in cases)} {outcome}" for outcome in OUTCOMES)


def report(cases: list) -> list:
    lines = []
    for run in dict.fromkeys(case.run for case in cases):
        own = [case for case in cases if case.run == run]
        lines.append(f"{run}: {counts(own)}")
        reasons = {}
        for case in own:
            if case.outcome == "failed":
                lines.append(f"    failed:  {case.name}")
            elif case.outcome == "skipped":
                reasons.setdefault(case.reason, []).append(case.name)
        for reason, names in reasons.items():
            shown = names[0] if len(names) == 1 else f"{len(names)} cases, such as {names[0]}"
            lines.append(f"    skipped: {reason} ({shown})")
    lines.append(f"all: {counts(cases)}")
    return lines


def main() -> int:
    folder = Path(sys.argv[1])
    cases = [case for file in sorted(folder.glob("*.xml")) for case in ctest_cases(file)]
    cases += check_cases(folder / "checks.txt")
    print("\n".join(report(cases)))
    return 1 if not cases or any(case.outcome == "failed" for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
