#!/usr/bin/env python3
"""gpu_summary.py against what the stages of tests/gpu.sh leave."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FACTS = "device\tNVIDIA H100 80GB HBM3\ncommit\tabc\n"
CASES = """<testsuite name="(empty)">
  <testcase name="device_kernels_test: holds" status="run"><system-out>All tests passed</system-out></testcase>
  <testcase name="device_kernels_test: needs more" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>[skipped] needs two GPUs\n</system-out></testcase>
  %s
</testsuite>
"""
BROKEN = '<testcase name="device_kernels_test: breaks" status="fail"><system-out>no</system-out></testcase>'
PASSED = "build\tpassed\t61.25\t\ncases\tpassed\t4\t\n"


def summary(stages: str, cases: str) -> tuple:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, contents in (("facts", FACTS), ("stages", stages), ("cases.xml", cases)):
            if contents is not None:
                (folder / file).write_text(contents, encoding="utf-8")
        script = Path(__file__).with_name("gpu_summary.py")
        files = [folder / file for file in ("facts", "stages", "cases.xml", "gpu.json")]
        done = subprocess.run([sys.executable, script, *files], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, json.loads(files[-1].read_text(encoding="utf-8"))


class GpuSummary(unittest.TestCase):
    def test_a_good_run(self):
        code, _, written = summary(PASSED, CASES % "")
        self.assertEqual(code, 0)
        self.assertEqual(written["device"], "NVIDIA H100 80GB HBM3")
        self.assertEqual(written["stages"][0], {"name": "build", "status": "passed", "seconds": 61.2, "detail": ""})
        self.assertEqual(written["cases"], {"passed": 1, "failed": 0, "skipped": 1})
        self.assertEqual(written["skipped"], ["device_kernels_test: needs more: needs two GPUs"])

    def test_a_failing_case_is_named_and_fails(self):
        code, output, written = summary(PASSED, CASES % BROKEN)
        self.assertEqual(code, 1)
        self.assertEqual(written["failing"], ["device_kernels_test: breaks"])
        self.assertIn("failed: device_kernels_test: breaks", output)

    def test_a_failing_stage_fails(self):
        code, output, _ = summary(PASSED + "racecheck\tfailed\t9\t2 hazards\n", CASES % "")
        self.assertEqual(code, 1)
        self.assertIn("failed: racecheck: 2 hazards", output)

    def test_no_case_at_all_fails(self):
        for cases in (None, ""):
            code, output, written = summary("build\tfailed\t2\texit code 1\n", cases)
            self.assertEqual(code, 1)
            self.assertIn("nothing was tested", output)
            self.assertEqual(written["cases"]["passed"], 0)


if __name__ == "__main__":
    unittest.main()
