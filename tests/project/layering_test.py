#!/usr/bin/env python3
"""Plants one violation of each rule of layering.py in a small tree and sees exactly that one reported."""

import tempfile
import unittest
from pathlib import Path

import layering

# A tree that keeps every rule, and comes close to breaking most of them.
CLEAN = {
    "kernels/core/error.h": "#pragma once\n",
    "kernels/core/launch.h": "template <typename K> void launch(K k) { cudaLaunchKernelEx(k); }\n",
    "kernels/device/shared.h": "extern __shared__ char arena[];\n",
    "kernels/core/memory.cpp": "void* take() { return cudaMalloc(8); }\n",
    "kernels/device/load.h": '#include "kernels/core/error.h"\ninline void load() { asm volatile("ld"); }\n',
    "kernels/rows.h": '// Tested by tests/rows_test.cpp.\n#include "kernels/core/error.h"\n',
    "kernels/rows.cpp": '#include <vector>\n\n#include "kernels/rows.h"\n',
    "kernels/rows.cu": '#include "kernels/device/load.h"\n#include "kernels/rows.h"\n',
    "engine/files/atomic.h": "// never printf( here, nor exit(1), nor getenv\n",
    "engine/text/clean.h": 'const char* kHelp = "printf(exit(getenv(asm";\n',
    "engine/data/batch.h": '#include "engine/text/clean.h"\n',
    "engine/device/gemm.h": '#include "kernels/rows.h"\n',
    "engine/data/sampler.h": "#pragma once\n",
    "engine/model/model.h": '#include "engine/data/batch.h"\n#include "engine/device/gemm.h"\nconst long kTokens = 1\'000\'000;\n',
    "engine/cluster/environment.cpp": 'auto* rank = std::getenv("RANK");\n',
    "engine/train/trainer.h": '#include "engine/data/batch.h"\n#include "kernels/rows.h"\n',
    "tools/main.cpp": '#include "engine/train/trainer.h"\nint main() { std::printf("x"); exit(0); }\n',
    "tests/rows_test.cpp": '#include "kernels/rows.h"\nauto* data = getenv("D");\n',
    "benchmarks/rows_bench.cpp": '#include "kernels/rows.h"\n',
}

MANY_LINES = "    work();\n" * layering.MAX_FUNCTION_LINES

# rule -> (file, what is added to it)
PLANTED = {
    "include": [
        ("kernels/core/error.h", '#include "kernels/rows.h"\n'),
        ("kernels/rows.cpp", '#include "kernels/device/load.h"\n'),
        ("kernels/rows.h", '#include "engine/device/gemm.h"\n'),
        ("engine/files/atomic.h", '#include "kernels/rows.h"\n'),
        ("engine/text/clean.h", '#include "engine/files/atomic.h"\n'),
        ("engine/data/batch.h", '#include "engine/model/model.h"\n'),
        ("engine/model/model.h", '#include "engine/data/sampler.h"\n'),
        ("engine/cluster/environment.cpp", '#include "engine/model/model.h"\n'),
        ("engine/train/trainer.h", '#include "kernels/device/load.h"\n'),
        ("tools/main.cpp", '#include "kernels/rows.h"\n'),
        ("engine/train/trainer.h", '#include "tests/rows_test.cpp"\n'),
        ("engine/train/trainer.h", '#include "benchmarks/rows_bench.cpp"\n'),
        ("kernels/rows.cpp", '#include "rows.h"\n'),
        ("kernels/rows.cpp", '#include "../kernels/rows.h"\n'),
        ("kernels/rows.cpp", "#include <kernels/rows.h>\n"),
        ("kernels/rows.cpp", '#  include "kernels/missing.h"\n'),
    ],
    "named test": [("kernels/rows.h", "// Tested by tests/kernels/columns_test.cpp.\n")],
    "launch": [("kernels/rows.cu", "void f() { g<<<1, 32>>>(); }\n"),
               ("kernels/rows.cu", "void f() { cudaLaunchKernel(g); }\n")],
    "shared memory": [("kernels/rows.cu", "extern __shared__ char s[];\n"),
                      ("kernels/rows.cu", "__shared__ float s[32];\n")],
    "asm": [("kernels/rows.cu", 'void f() { asm("bar"); }\n'), ("kernels/core/error.h", 'void f() { __asm__("x"); }\n')],
    "allocation": [("engine/device/gemm.h", "auto p = cudaMallocAsync(1);\n")],
    "environment": [("engine/train/trainer.h", 'auto p = std::getenv("X");\n'),
                    ("benchmarks/rows_bench.cpp", 'auto p = getenv("X");\n')],
    "print": [("engine/data/batch.h", 'void f() { std::printf("x"); }\n'),
              ("kernels/rows.cpp", "void f() { std::fprintf(stderr, x); }\n"),
              ("engine/train/trainer.h", "void f() { std::cerr << 1; }\n")],
    "exit": [("engine/data/batch.h", "void f() { std::exit(1); }\n"), ("kernels/rows.cpp", "void f() { _exit (1); }\n"),
             ("kernels/rows.cpp", "void f() { std::abort(); }\n")],
    "process": [("engine/data/batch.h", "void f() { std::signal(2, g); }\n"),
                ("kernels/rows.cpp", 'void f() { setenv("X", "1", 1); }\n')],
    "thread": [("engine/train/trainer.h", "std::jthread helper(f);\n")],
    "dead code": [("kernels/rows.cpp", "#if 0\n#endif\n"), ("tests/rows_test.cpp", "# if false\n#endif\n")],
    "macro": [("kernels/rows.cpp", "#define TWICE(x) ((x) + (x))\n")],
    "unfinished": [("kernels/rows.cpp", "// TO" + "DO\n"), ("tools/main.cpp", "/* FIX" + "ME: later */\n")],
    "file length": [("kernels/rows.cpp", "int x;\n" * (layering.MAX_FILE_LINES - 2))],
    "function length": [
        ("kernels/rows.cpp", "void f(int x) {\n" + MANY_LINES + "}\n"),
        ("kernels/rows.cpp", "namespace a {\nclass B {\n  void f() const\n  {\n" + MANY_LINES + "  }\n};\n}\n"),
        ("kernels/rows.cpp", "B::B(int x) : a_(x), b_{x}, c_{} {\n" + MANY_LINES + "}\n"),
        ("kernels/rows.cpp", "bool operator==(A a, B b) {\n" + MANY_LINES + "}\n"),
        ("kernels/rows.cpp", 'const char* k = R"x({{{)x";\nvoid f() {\n' + MANY_LINES + "}\n"),
    ],
}

# Long things that are no functions.
LONG_BUT_FINE = [
    "const int kTable[] = {\n" + "    1,\n" * 100 + "};\n",
    "struct Wide {\n" + "    int x;\n" * 100 + "};\n",
    "enum class E {\n" + "    a,\n" * 100 + "};\n",
    "namespace n {\n" + "int f();\n" * 100 + "}\n",
    "void f() {\n" + MANY_LINES.replace("    work();\n", "", 2) + "}\n",
]


def reported(files: dict) -> list:
    with tempfile.TemporaryDirectory() as folder:
        for name, contents in files.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(contents, encoding="utf-8")
        return list(layering.findings(Path(folder)))


class EachRuleFires(unittest.TestCase):
    def test_a_tree_that_keeps_every_rule_has_no_findings(self):
        self.assertEqual(reported(CLEAN), [])

    def test_each_planted_violation_is_reported_once_by_its_rule(self):
        for rule, plants in PLANTED.items():
            for file, addition in plants:
                with self.subTest(rule=rule, file=file, addition=addition[:60]):
                    found = reported({**CLEAN, file: CLEAN[file] + addition})
                    self.assertEqual([(f.rule, f.file) for f in found], [(rule, file)])

    def test_every_forbidden_word_has_a_plant(self):
        self.assertLessEqual({word.rule for word in layering.FORBIDDEN}, set(PLANTED))

    def test_long_tables_types_and_namespaces_are_no_functions(self):
        for addition in LONG_BUT_FINE:
            with self.subTest(addition=addition[:30]):
                self.assertEqual(reported({**CLEAN, "kernels/rows.cpp": CLEAN["kernels/rows.cpp"] + addition}), [])

    def test_a_finding_names_file_line_and_rule(self):
        found = reported({**CLEAN, "kernels/rows.cpp": "\n\nvoid f() { exit(1); }\n"})
        self.assertTrue(str(found[0]).startswith("kernels/rows.cpp:3: exit: `exit(`"), found)


if __name__ == "__main__":
    unittest.main()
