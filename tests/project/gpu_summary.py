#!/usr/bin/env python3
"""What tests/gpu.sh did, as one JSON file and a few lines.

    python3 tests/project/gpu_summary.py FACTS STAGES CASES.xml SUMMARY.json

FACTS has lines `name<TAB>value`; STAGES has lines `name<TAB>passed|failed|skipped<TAB>seconds<TAB>detail`; CASES.xml is
what ctest --output-junit left, if it got so far. Exits with 1 if anything failed, or if no case ran. Tested by
tests/project/gpu_summary_test.py.
"""

import json
import sys
from pathlib import Path

from summary import OUTCOMES, ctest_cases


def read_facts(file: Path) -> dict:
    return dict(line.split("\t", 1) for line in file.read_text(encoding="utf-8").splitlines())


def read_stages(file: Path) -> list:
    stages = []
    for line in file.read_text(encoding="utf-8").splitlines():
        name, status, seconds, detail = line.split("\t", 3)
        stages.append({"name": name, "status": status, "seconds": round(float(seconds), 1), "detail": detail})
    return stages


def read_cases(file: Path) -> list:
    return ctest_cases(file) if file.exists() and file.stat().st_size > 0 else []


def summary_of(facts: dict, stages: list, cases: list) -> dict:
    return {
        **facts,
        "stages": stages,
        "cases": {outcome: sum(case.outcome == outcome for case in cases) for outcome in OUTCOMES},
        "failing": [case.name for case in cases if case.outcome == "failed"],
        "skipped": [f"{case.name}: {case.reason}" for case in cases if case.outcome == "skipped"],
    }


def failures(summary: dict) -> list:
    stages = [stage for stage in summary["stages"] if stage["status"] == "failed"]
    lines = [f"{stage['name']}: {stage['detail'] or 'failed'}" for stage in stages] + summary["failing"]
    if summary["cases"]["passed"] == 0:
        lines.append("no case passed: nothing was tested")
    return lines


def main() -> int:
    facts, stages, cases, target = (Path(argument) for argument in sys.argv[1:])
    summary = summary_of(read_facts(facts), read_stages(stages), read_cases(cases))
    target.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    failed = failures(summary)
    for line in failed:
        print(f"failed: {line}")
    print(", ".join(f"{count} {outcome}" for outcome, count in summary["cases"].items()), f"in {target}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
