#!/usr/bin/env python3
"""kernel_resources.py against what ptxas and cuobjdump of CUDA 13 print."""

import unittest

from kernel_resources import (Use, compare, forbidden, other_warnings, parse_disassembly, parse_ptxas, parse_table,
                              readable, table_text)

PTXAS = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3oneIfEvPf' for 'sm_80'
ptxas info    : Function properties for _Z3oneIfEvPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 392 bytes cmem[0]
ptxas info    : Compile time = 37.518 ms
ptxas info    : Compiling entry function '_Z3twov' for 'sm_80'
ptxas info    : Function properties for _Z3twov
    72 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 16 barriers, 72 bytes cumulative stack size, 1040 bytes smem, 400 bytes cmem[0]
ptxas info    : Compile time = 2.000 ms
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3oneIfEvPf' for 'sm_90a'
ptxas info    : Function properties for _Z3oneIfEvPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers
ptxas info    : Compile time = 38.544 ms
"""
DISASSEMBLY = """
Fatbin elf code:
================
arch = sm_90a
\tcode for sm_90a
\t\tFunction : _Z3oneIfEvPf
\t.headerflags\t@"EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;         /* 0x00000a00ff017b82 */
                                                                  /* 0x000fe20000000800 */
        /*0010*/              @!P0 EXIT ;                         /* 0x000000000000894d */
                                                                  /* 0x000fea0003800000 */
        /*0020*/                   BRA 0x20;                      /* 0xfffffffc00fc7947 */
                                                                  /* 0x000fc0000383ffff */
        /*0030*/                   NOP;                           /* 0x0000000000007918 */
                                                                  /* 0x000fc00000000000 */
\t\t..........
\t\tFunction : _Z3twov
        /*1fff0*/                  EXIT ;                         /* 0x000000000000794d */
                                                                  /* 0x000fea0003800000 */
"""
ONE = ("a.cu one<float>", "sm_80")
SMALL = Use(registers=32, shared_bytes=0, barriers=1, stack_bytes=0, spill_bytes=0, instructions=100)


class KernelResources(unittest.TestCase):
    def test_the_report_of_ptxas_is_read(self):
        uses = parse_ptxas(PTXAS)
        self.assertEqual(uses["_Z3oneIfEvPf", "sm_80"], Use(40, 0, 1, 0, 0))
        self.assertEqual(uses["_Z3twov", "sm_80"], Use(255, 1040, 16, 72, 20))
        self.assertEqual(uses["_Z3oneIfEvPf", "sm_90a"], Use(32, 0, 0, 0, 0))
        self.assertEqual(len(uses), 3)

    def test_warnings_besides_spills_are_found(self):
        spilled = "ptxas warning : Registers are spilled to local memory in function '_Z3twov', 8 bytes spill stores\n"
        serialised = "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"
        other = "ptxas /tmp/a.ptx, line 7; warning : stray value"
        self.assertEqual(other_warnings(PTXAS + spilled), [])
        self.assertEqual(other_warnings(PTXAS + spilled + other), [other])
        self.assertEqual(other_warnings(serialised), [serialised])

    def test_instructions_are_counted_without_padding(self):
        self.assertEqual(parse_disassembly(DISASSEMBLY), {("_Z3oneIfEvPf", "sm_90a"): 3, ("_Z3twov", "sm_90a"): 1})

    def test_names_lose_namespaces_and_parameters(self):
        for demangled, name in (
                ("void cloze::(anonymous namespace)::k<cloze::bf16, cloze::(anonymous namespace)::F>()", "k<bf16, F>"),
                ("void cloze::k<(cloze::Transposed)1, 4>(unsigned int*, void (*)(int))", "k<1, 4>"),
                ("cloze::(anonymous namespace)::plain(cloze::Shape)", "plain"),
                ("_Z3odd", "_Z3odd")):
            self.assertEqual(readable(demangled), name)

    def test_the_table_keeps_what_it_is_given(self):
        uses = {("b.cu k<1, 2>", "sm_80"): SMALL, ("b.cu k<1, 2>", "sm_90a"): SMALL._replace(instructions=None),
                ("a.cu k", "sm_80"): SMALL._replace(shared_bytes=65536), ("a.cu k", "sm_90a"): SMALL}
        text = table_text("13.0.88", uses)
        self.assertEqual(parse_table(text), ("13.0.88", uses))
        self.assertEqual(text.splitlines()[-1], " 32     0  1   100 |  32     0  1     - | b.cu k<1, 2>")

    def test_more_registers_fail_and_other_changes_are_told(self):
        self.assertEqual(compare({ONE: SMALL}, {ONE: SMALL}), ([], []))
        self.assertEqual(compare({ONE: SMALL}, {ONE: SMALL._replace(registers=33)}),
                         (["a.cu one<float> on sm_80: registers 32 -> 33"], []))
        self.assertEqual(compare({ONE: SMALL}, {ONE: SMALL._replace(registers=31, instructions=101)}),
                         ([], ["a.cu one<float> on sm_80: registers 32 -> 31",
                               "a.cu one<float> on sm_80: instructions 100 -> 101"]))
        self.assertEqual(compare({ONE: SMALL}, {ONE: SMALL._replace(instructions=None)}), ([], []))
        self.assertEqual(compare({ONE: SMALL}, {}), ([], ["a.cu one<float> on sm_80: is gone"]))
        self.assertEqual(compare({}, {ONE: SMALL}), ([], ["a.cu one<float> on sm_80: is new"]))

    def test_a_stack_and_spills_are_forbidden(self):
        self.assertEqual(forbidden({ONE: SMALL}), [])
        self.assertEqual(forbidden({ONE: SMALL._replace(stack_bytes=8)}),
                         ["a.cu one<float> on sm_80: 8 bytes of stack, 0 bytes of spills"])
        self.assertEqual(len(forbidden({ONE: SMALL._replace(spill_bytes=4)})), 1)


if __name__ == "__main__":
    unittest.main()
