#!/usr/bin/env python3
"""summary.py against files as ctest 3.25 writes them."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CTEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="(empty)">
  <testcase name="a: holds" status="run"><system-out>All tests passed</system-out></testcase>
  <testcase name="a: needs &lt;data&gt;" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>Filters: x\n[skipped] CLOZE_TEST_DATA is not set\nAll tests passed</system-out></testcase>
  <testcase name="b: needs it too" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>[skipped] CLOZE_TEST_DATA is not set\n</system-out></testcase>
  %s
</testsuite>
"""
BROKEN = '<testcase name="b: breaks" status="fail"><failure message=""/><system-out>no</system-out></testcase>'
NOT_BUILT = ('<testcase name="gone" status="notrun"><skipped message="Unable to find executable"/>'
             "<system-out>Unable to find executable: x</system-out></testcase>")


def summary(files: dict) -> tuple:
    with tempfile.TemporaryDirectory() as folder:
        for name, contents in files.items():
            (Path(folder) / name).write_text(contents, encoding="utf-8")
        script = Path(__file__).with_name("summary.py")
        done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()


class Summary(unittest.TestCase):
    def test_counts_and_reasons(self):
        code, lines = summary({"release.xml": CTEST % "", "checks.txt": "passed format: \nskipped kernels: no nvcc\n"})
        self.assertEqual(code, 0)
        self.assertEqual(lines, [
            "release: 1 passed, 0 failed, 2 skipped",
            "    skipped: CLOZE_TEST_DATA is not set (2 cases, such as a: needs <data>)",
            "checks: 1 passed, 0 failed, 1 skipped",
            "    skipped: no nvcc (kernels)",
            "all: 2 passed, 0 failed, 3 skipped",
        ])

    def test_a_failure_is_named_and_fails(self):
        for bad, name in ((BROKEN, "b: breaks"), (NOT_BUILT, "gone")):
            code, lines = summary({"asan.xml": CTEST % bad})
            self.assertEqual(code, 1)
            self.assertIn(f"    failed:  {name}", lines)
            self.assertEqual(lines[-1], "all: 1 passed, 1 failed, 2 skipped")

    def test_a_failed_check_fails(self):
        self.assertEqual(summary({"release.xml": CTEST % "", "checks.txt": "failed lint: \n"})[0], 1)

    def test_nothing_at_all_fails(self):
        self.assertEqual(summary({})[0], 1)


if __name__ == "__main__":
    unittest.main()
