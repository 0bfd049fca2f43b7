#!/usr/bin/env python3
"""Whole training steps on a GPU, Cloze and PyTorch in turn: BERT-large and BERT-base at lengths 128 and 512.

    device_steps.py --device-step build/bin/device_step --json steps.json [--quick] [--peers all|some|none] [--seconds S]

Each case is a process of its own: benchmarks/device_step.cpp, then benchmarks/device_step.py with the same rows, counts
and recipe and the number of rows that suits it best. The file is written after each answer; what fails is noted and costs
no other. `some` peers, the default, are those of BERT-large at 512 and BERT-base at 128: each compiles for a minute.
"""

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# model, length, rows of Cloze, rows that PyTorch tries, whether `some` peers include it
CASES = (
    ("large", 512, 48, (32, 64), True),
    ("large", 128, 192, (128, 256), False),
    ("base", 512, 96, (64, 128), False),
    ("base", 128, 384, (256, 512), True),
)


def answer_of(command, seconds):
    """The JSON object that a program prints last, or why there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return dict(error=f"not done after {seconds} s", command=shlex.join(command))
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return dict(error=(done.stderr.strip() or f"exit code {done.returncode}")[-300:], command=shlex.join(command))
    return dict(json.loads(lines[-1]), command=shlex.join(command))


def cloze(options, model, length, rows, *more):
    return answer_of([options.device_step, "--model", model, "--max-seq-length", str(length), "--rows", str(rows),
                      "--steps", str(options.steps), *more], 60)


def pytorch(options, model, length, rows):
    return answer_of([sys.executable, os.path.join(HERE, "device_step.py"), "--model", model, "--max-seq-length",
                      str(length), "--rows", *map(str, rows), "--seconds", str(options.seconds)], 150)


def shown(answer):
    if "error" in answer:
        return answer["error"].splitlines()[-1][:60]
    tflops = f", {answer['tflops']:.0f} TFLOP/s" if "tflops" in answer else ""
    return f"{answer['sequences_per_second']:,.0f} sequences/s in {answer['seconds'] * 1e3:.1f} ms{tflops}"


def measure(options, report):
    for model, length, rows, peer_rows, among_some in CASES[:1] if options.quick else CASES:
        case = dict(model=model, max_seq_length=length)
        report["cases"].append(case)

        def add(name, answer):
            case[name] = answer
            print(f"{model:6} {length:4}  {name:16} {shown(answer)}", flush=True)
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)

        add("tanh", cloze(options, model, length, rows))
        add("erf", cloze(options, model, length, rows, "--hidden-act", "gelu"))
        if length == 512:
            add("four of it", cloze(options, model, length, rows, "--micro-batches", "4"))
        add("profile", cloze(options, model, length, rows, "--profile"))
        if options.peers == "all" or (options.peers == "some" and among_some):
            add("PyTorch", pytorch(options, model, length, peer_rows))
            if "error" not in case["tanh"] and "error" not in case["PyTorch"]:
                ratio = case["tanh"]["sequences_per_second"] / case["PyTorch"]["sequences_per_second"]
                print(f"{model:6} {length:4}  Cloze is {ratio:.2f} times as fast", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device-step", required=True, help="the program built of device_step.cpp")
    parser.add_argument("--json", required=True)
    parser.add_argument("--peers", choices=("all", "some", "none"), default="some")
    parser.add_argument("--quick", action="store_true", help="BERT-large at 512 alone")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=5, help="of timed steps of PyTorch for each number of rows")
    parser.add_argument("--commit", default="unknown")
    options = parser.parse_args()
    report = dict(date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                  commit=options.commit, command=shlex.join(sys.argv), cases=[])
    measure(options, report)
    return 0 if all("error" not in case["tanh"] for case in report["cases"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
