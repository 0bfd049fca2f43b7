#!/usr/bin/env python3
"""What each kernel takes of a multiprocessor, as nvcc compiles it for the product's GPUs.

    python3 tests/project/kernel_resources.py [--write] [--jobs N]

Compiles kernels/*.cu for sm_80 and sm_90a and compares registers, static shared memory, barriers and instructions with
kernels/resources.txt, if that was written by the same nvcc. Prints what differs. More registers than there, a stack or
spills at all, and any other warning of ptxas fail: exit code 1. --write renews the table after a change that is meant.

Instructions are counted where cuobjdump and nvdisasm are found: on the PATH, or in PyPI's package triton in build/venv;
elsewhere the column is "-" and is not compared. Without nvcc: "[skipped] ...". Tested by
tests/project/kernel_resources_test.py.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, Optional

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "kernels" / "resources.txt"
ARCHITECTURES = ("sm_80", "sm_90a")


class Use(NamedTuple):
    """Of one kernel on one architecture."""
    registers: int
    shared_bytes: int
    barriers: int
    stack_bytes: int
    spill_bytes: int
    instructions: Optional[int] = None

    def columns(self) -> str:
        count = "-" if self.instructions is None else self.instructions
        return f"{self.registers:3} {self.shared_bytes:5} {self.barriers:2} {count:>5}"


def readable(demangled: str) -> str:
    """`forward_kernel<bf16>` of `void cloze::(anonymous namespace)::forward_kernel<cloze::bf16>(float*)`."""
    name = re.sub(r"\(anonymous namespace\)::|\bcloze::|\(cloze::\w+\)", "", demangled)
    depth, end = 0, len(name)
    for at in range(len(name) - 1, -1, -1):  # the parameters are the last pair of parentheses
        depth += {")": 1, "(": -1}.get(name[at], 0)
        if name[at] == "(" and depth == 0:
            end = at
            break
    return re.sub(r"^void ", "", name[:end]).replace("> >", ">>")


def parse_ptxas(report: str) -> dict:
    """Uses by (mangled name, architecture), of what `ptxas -v` says."""
    uses = {}
    for part in re.split(r"(?=Compiling entry function)", report)[1:]:
        name, architecture = re.match(r"Compiling entry function '(\S+)' for '(\w+)'", part).groups()

        def number(pattern: str, text: str = part) -> int:
            return sum(int(found) for found in re.findall(pattern, text))

        uses[name, architecture] = Use(
            registers=number(r"Used (\d+) registers"),
            shared_bytes=number(r"(\d+) bytes smem"),
            barriers=number(r"used (\d+) barriers"),
            stack_bytes=number(r"(\d+) bytes stack frame"),
            spill_bytes=number(r"(\d+) bytes spill"))
    return uses


def parse_disassembly(listing: str) -> dict:
    """Instructions by (mangled name, architecture), without the padding after the end."""
    counts = {}
    architecture = key = None
    for line in listing.splitlines():
        if found := re.match(r"\s*code for (\w+)", line):
            architecture = found.group(1)
        elif found := re.match(r"\s*Function : (\S+)", line):
            key = found.group(1), architecture
            counts[key] = 0
        elif key and re.match(r"\s*/\*[0-9a-f]{4,}\*/", line) and not re.search(r"\*/\s+NOP\b", line):
            counts[key] += 1
    return counts


def other_warnings(report: str) -> list:
    """What ptxas warns of besides spills, which parse_ptxas counts."""
    found = re.findall(r"^ptxas .*(?:\bwarning\b|\berror\b|Performance Loss).*$", report, flags=re.MULTILINE)
    return [line for line in found if "spilled to local memory" not in line]


def table_text(version: str, uses: dict) -> str:
    lines = [
        "# Kernels as nvcc compiles them: python3 tests/project/kernel_resources.py --write",
        f"# nvcc {version}",
        "# registers, bytes of static shared memory, barriers, instructions: on " + ", then on ".join(ARCHITECTURES),
    ]
    for kernel in sorted({kernel for kernel, _ in uses}):
        columns = [uses[kernel, architecture].columns() for architecture in ARCHITECTURES]
        lines.append(" | ".join(columns + [kernel]))
    return "\n".join(lines) + "\n"


def parse_table(text: str) -> tuple:
    """The version of nvcc, and the uses."""
    version, uses = "", {}
    for line in text.splitlines():
        if found := re.match(r"# nvcc (.*)", line):
            version = found.group(1)
        if line.startswith("#") or not line.strip():
            continue
        *columns, kernel = line.split(" | ")
        for architecture, column in zip(ARCHITECTURES, columns):
            registers, shared, barriers, count = column.split()
            uses[kernel, architecture] = Use(int(registers), int(shared), int(barriers), 0, 0,
                                             None if count == "-" else int(count))
    return version, uses


def forbidden(uses: dict) -> list:
    return [f"{kernel} on {architecture}: {use.stack_bytes} bytes of stack, {use.spill_bytes} bytes of spills"
            for (kernel, architecture), use in sorted(uses.items()) if use.stack_bytes or use.spill_bytes]


def compare(before: dict, now: dict) -> tuple:
    """Lines that fail, and lines that tell."""
    failing, telling = [], []
    for key in sorted(before.keys() | now.keys()):
        name = "{} on {}".format(*key)
        if key not in now or key not in before:
            telling.append(f"{name}: {'is gone' if key in before else 'is new'}")
            continue
        for field in ("registers", "shared_bytes", "barriers", "instructions"):
            was, is_now = getattr(before[key], field), getattr(now[key], field)
            if was == is_now or None in (was, is_now):
                continue
            grown = field == "registers" and is_now > was
            (failing if grown else telling).append(f"{name}: {field.replace('_', ' ')} {was} -> {is_now}")
    return failing, telling


def find_nvcc() -> Optional[str]:
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def find_disassemblers(nvcc: str) -> Optional[Path]:
    """A folder with both."""
    folders = os.environ.get("PATH", "").split(os.pathsep) + [str(Path(nvcc).parent)]
    for packages in (ROOT / "build" / "venv").glob("lib/python*/site-packages"):
        folders.append(str(packages / "triton" / "backends" / "nvidia" / "bin"))
    for folder in folders:
        if all(shutil.which(tool, path=folder) for tool in ("cuobjdump", "nvdisasm")):
            return Path(folder)
    return None


def version_of(nvcc: str) -> str:
    output = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release \S+, V(\S+)", output).group(1)


def demangled(names: list, nvcc: str) -> dict:
    tool = shutil.which("cu++filt", path=str(Path(nvcc).parent)) or shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None:
        return {name: name for name in names}
    done = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def uses_of(file: Path, nvcc: str, disassemblers: Optional[Path]) -> tuple:
    """Uses by (kernel with its file, architecture), and what is wrong with the file."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code.fatbin"
        command = [nvcc, "-std=c++20", f"-I{ROOT}", "-O3", "-DCLOZE_CUDA", "-Xptxas", "-v,-warn-spills"]
        for architecture in ARCHITECTURES:
            command += ["-gencode", f"arch={architecture.replace('sm', 'compute')},code={architecture}"]
        command += ["-fatbin", str(file), "-o", str(code)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        report = done.stdout + done.stderr
        if done.returncode != 0:
            return {}, [f"{file.name} does not compile:\n{report}"]
        uses, counts = parse_ptxas(report), {}
        if disassemblers:
            path = f"{disassemblers}{os.pathsep}{os.environ.get('PATH', '')}"
            counts = parse_disassembly(subprocess.run(
                [disassemblers / "cuobjdump", "-sass", code], capture_output=True, text=True, check=True,
                env={**os.environ, "PATH": path}).stdout)
    names = demangled([name for name, _ in uses], nvcc)
    return {(f"{file.name} {readable(names[name])}", architecture):
            use._replace(instructions=counts.get((name, architecture)))
            for (name, architecture), use in uses.items()}, other_warnings(report)


def all_uses(nvcc: str, disassemblers: Optional[Path], jobs: int) -> tuple:
    """Uses of all kernels, and what is wrong with the files."""
    files = sorted((ROOT / "kernels").glob("*.cu"))
    uses, wrong = {}, []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for of_file, wrong_of_file in pool.map(lambda file: uses_of(file, nvcc, disassemblers), files):
            uses.update(of_file)
            wrong += wrong_of_file
    return uses, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"renew {TABLE.relative_to(ROOT)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="files that compile side by side")
    arguments = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("[skipped] nvcc is not installed")
        return 0
    version, disassemblers = version_of(nvcc), find_disassemblers(nvcc)
    uses, failing = all_uses(nvcc, disassemblers, arguments.jobs)
    failing += forbidden(uses)
    telling = [] if disassemblers else ["instructions are not counted: cuobjdump and nvdisasm are not found"]
    if arguments.write:
        TABLE.write_text(table_text(version, uses), encoding="utf-8")
    elif TABLE.exists():
        table_version, before = parse_table(TABLE.read_text(encoding="utf-8"))
        if table_version == version:
            grown, differing = compare(before, uses)
            failing, telling = failing + grown, telling + differing
        else:
            telling.append(f"not compared: the table is of nvcc {table_version}, this one is {version}")
    for line in telling:
        print(line)
    for line in failing:
        print(f"failed: {line}")
    kernels = len({kernel for kernel, _ in uses})
    print(f"{kernels} kernels on {' and '.join(ARCHITECTURES)}, nvcc {version}: {len(failing)} failures")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
