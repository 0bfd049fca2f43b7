#!/usr/bin/env python3
"""plant.py and run.py against small lists: what is planted, which lists are refused, how results are judged."""

import contextlib
import io
import os
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import plant
import run
from mutant_list import ListError

SOURCE = """// Sums.
int sum(int a, int b) {
    work();  // first
    return a + b;
}
int twice(int a) {
    work();
    return 2 * a;
}
"""

IN_SUM = "  in sums.cu: int sum(\n"
CAUGHT = "  caught as wrong numbers by sums add up\n"


def planted(entries: str) -> str:
    """SOURCE with the mutants of a list, without the line that names its file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "sums.cu").write_text(SOURCE, encoding="utf-8")
        (root / "list.txt").write_text(entries, encoding="utf-8")
        plant.plant(root, root / "planted", [root / "list.txt"], ["sums.cu"])
        line, _, text = (root / "planted/sums.cu").read_text(encoding="utf-8").partition("\n")
        assert line == f'#line 1 "{root}/sums.cu"', line
        return text


class Plant(unittest.TestCase):
    def test_expressions_and_statements(self):
        text = planted("lost\n" + IN_SUM + "  - a + b\n  + a\n" + CAUGHT
                       + "# a comment\n\nidle\n" + IN_SUM + "  - work();\n" + CAUGHT)
        self.assertIn("    return (mutant_is(0) ? (a) : (a + b));\n", text)
        self.assertIn("    { if (mutant_is(1)) {  } else { work(); } }  // first\n", text)
        self.assertEqual(text.count("\n"), SOURCE.count("\n"))

    def test_places_inside_of_each_other(self):
        text = planted("none\n" + IN_SUM + "  - return a + b;\n  + return\n  + 0;\n" + CAUGHT
                       + "less\n" + IN_SUM + "  - a + b\n  + a\n" + CAUGHT
                       + "minus\n" + IN_SUM + "  - a + b\n  + a - b\n" + CAUGHT)
        self.assertIn("{ if (mutant_is(0)) { return 0; } else { return (mutant_is(1) ? (a) : "
                      "((mutant_is(2) ? (a - b) : (a + b)))); } }", text)

    def test_several_places(self):
        text = planted("idle\n" + IN_SUM + "  - work();\n  in sums.cu: int twice(\n  - work();\n" + CAUGHT)
        self.assertEqual(text.count("mutant_is(0)"), 2)

    def test_originals_of_more_lines(self):
        text = planted("idle\n  in sums.cu: int twice(\n  - work();\n  - return 2 * a;\n  + return a;\n" + CAUGHT)
        self.assertIn("{ if (mutant_is(0)) { return a; } else { work();\n    return 2 * a; } }", text)

    def test_comments_tell_places_apart(self):
        text = planted("idle\n  in sums.cu\n  - work();  // first\n" + CAUGHT)
        self.assertIn("    { if (mutant_is(0)) {  } else { work(); } }  // first\n", text)

    def test_what_is_refused(self):
        for entries, words in {
                "gone\n" + IN_SUM + "  - a - b\n  + a\n" + CAUGHT: "list.txt:2: `gone`: the original stands 0 times",
                "twice there\n  in sums.cu\n  - work();\n" + CAUGHT: "stands 2 times",
                "moved\n  in sums.cu: int product(\n  - work();\n" + CAUGHT: "`int product(` stands 0 times",
                "elsewhere\n  in rows.cu\n  - work();\n" + CAUGHT: "rows.cu is no device code",
                "uncaught\n" + IN_SUM + "  - work();\n": "does not say what catches it",
                "no finding\n" + IN_SUM + "  - work();\n  caught as bad luck by sums\n": "`bad luck` is none of",
                "half\n" + IN_SUM + "  - (int a\n  + (int c\n" + CAUGHT: "no expression that can stand alone",
                "nothing\n" + IN_SUM + "  - a + b\n" + CAUGHT: "leaves out an expression",
                "one\n" + IN_SUM + "  - work();\n" + CAUGHT + "one\n" + IN_SUM + "  - a + b\n  + a\n" + CAUGHT:
                    "also the name of a mutant",
                "both\n" + IN_SUM + "  - work();  // first\n  - return a + b;\n" + CAUGHT + "ends\n"
                + IN_SUM + "  - return a + b;\n  - }\n" + CAUGHT: "two originals overlap"}.items():
            with self.assertRaises(ListError, msg=entries) as caught:
                planted(entries)
            self.assertIn(words, str(caught.exception))


class Run(unittest.TestCase):
    def test_findings(self):
        exception = "x_test.cpp:9: failed: unexpected exception with message: 'op: {}'"
        for line, finding in {
                "x_test.cpp:9: failed: a <= b for: 2 <= 1": "wrong numbers",
                "x_test.cpp:9: failed: run(c).same_bits(first) for: false with 1 message: 'race on'": "other bits",
                "x_test.cpp:9: failed: host.guards_hold() for: false": "stray access",
                exception.format("race on shared memory byte 4: read by thread 1 at"): "race",
                exception.format("race on shared memory byte 4: written by a copy of thread 1 at"): "race with a copy",
                exception.format("missing fence on shared memory byte 0: written by thread 1 at"): "missing fence",
                exception.format("d of a wgmma in flight is read before wgmma_wait(), at"): "race",
                exception.format("thread 0 returns while a wgmma is in flight"): "race",
                exception.format("thread 0 returns while others of a divergent warpgroup wait"): "divergence",
                exception.format("deadlock in block (0, 0); thread 0 has returned"): "deadlock",
                exception.format("divergent warp: shuffle_xor at"): "divergence",
                exception.format("reads 4 bytes at byte 8 of a device buffer"): "stray access",
                exception.format("reads a device buffer before it has waited for the kernel before"): "early access",
                exception.format("reads 16 bytes at byte 8 of a device buffer, which is not aligned to 16"):
                    "misaligned access",
                exception.format("out of device memory"): "another exception"}.items():
            self.assertEqual(run.judged(1, "header\n" + line + "\n").finding, finding, line)
        self.assertEqual(run.judged(0, "Passed 1 test case with 2 assertions.\n").finding, "")
        self.assertEqual(run.judged(0, "No test cases matched 'x'\n").finding, "no result")
        self.assertEqual(run.judged(-11, "Passed 1 test case with 2 assertions.\n").finding, "no result")

    def outcome(self, entries: str, arguments=()) -> tuple:
        """Of run.py with a test that fails as the mutant's name says."""
        with tempfile.TemporaryDirectory() as folder:
            test = Path(folder) / "test"
            test.write_text(f"#!{sys.executable}\nimport os, sys\nmutant = os.environ.get('CLOZE_MUTANT', '')\n"
                            "wrong = 'wrong' in mutant or 'broken' in sys.argv[1]\n"
                            "print('t.cpp:1: failed: a == b' if wrong else 'Passed with 1 assertion.')\n"
                            "sys.exit(1 if wrong else 0)\n", encoding="utf-8")
            test.chmod(0o755)
            (Path(folder) / "list.txt").write_text(entries, encoding="utf-8")
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                code = run.main([*arguments, str(test), f"{folder}/list.txt"])
            return code, output.getvalue()

    def test_survivors_fail(self):
        wrong, idle = "wrong\n" + IN_SUM + "  - work();\n" + CAUGHT, "idle\n" + IN_SUM + "  - work();\n" + CAUGHT
        code, output = self.outcome(wrong)
        self.assertEqual((code, output.splitlines()[-1]), (0, "1 of 1 mutants caught"))
        code, output = self.outcome(wrong + idle, ["--jobs", "2"])
        self.assertEqual((code, output.splitlines()[-1]), (1, "1 of 2 mutants caught"))
        self.assertIn("SURVIVED  idle", output)

    def test_samples(self):
        entries = "".join(f"wrong {i}\n" + IN_SUM + "  - work();\n" + CAUGHT for i in range(5))
        with unittest.mock.patch.dict(os.environ):
            os.environ.pop("CLOZE_TEST_LONG", None)
            self.assertIn("2 of 2 mutants caught", self.outcome(entries, ["--every", "4"])[1])
            os.environ["CLOZE_TEST_LONG"] = "1"
            self.assertIn("5 of 5 mutants caught", self.outcome(entries, ["--every", "4"])[1])

    def test_other_findings_fail(self):
        code, output = self.outcome("wrong\n" + IN_SUM + "  - work();\n  caught as race by sums\n")
        self.assertEqual(code, 1)
        self.assertIn("expected race, got wrong numbers", output)

    def test_without_mutant_all_pass(self):
        code, output = self.outcome("wrong\n" + IN_SUM + "  - work();\n  caught as wrong numbers by broken\n")
        self.assertEqual(code, 1)
        self.assertIn("FAILS     `broken` without any mutant", output)


if __name__ == "__main__":
    unittest.main()
