#!/usr/bin/env python3
"""What PyTorch takes for the work of Cloze's kernels: the same shapes, types and bytes, timed by the same method.

    peers.py --cases kernels.json --json peers.json [--seconds-per-case S] [--budget S] [--quick]

The cases are those of a report of `cloze-bench kernels --json`; each answer carries the key of its case, so that
`cloze-bench report --peers peers.json` finds it. PyTorch eager, torch.compile, fused AdamW,
scaled_dot_product_attention through FlashAttention and cuDNN, and graphs of cuDNN itself where its Python module is at
hand (cudnn_peers.py). The file is written after each answer; what fails is
noted and costs no other. Backward is the gradient of a kept graph: what autograd runs, without forward.

--device cpu runs everything once, tiny and without meaning, where there is no GPU: for tests.
"""

import argparse
import datetime
import json
import math
import os
import shlex
import subprocess
import sys
import time
import traceback

import torch
import torch.nn.functional as functional

from cudnn_peers import CudnnGraphs

FLUSH_BYTES = 256_000_000
ROTATION_BYTES = 240_000_000
SAMPLE_SECONDS = 400e-6
POSITIONS = 512


class Clock:
    """Seconds a call: the method of benchmarks/bench/stopwatch.h. The head start is as long as the host needs."""

    def __init__(self, device, seconds_per_case):
        self.device, self.seconds = device, seconds_per_case
        if device == "cuda":
            self.buffers = [torch.full((FLUSH_BYTES,), 0x5a, dtype=torch.uint8, device=device) for _ in range(2)]
            self.copy_seconds = min(self.elapsed(lambda: self.head_start(1)) for _ in range(5))

    def head_start(self, copies):
        for _ in range(copies):
            self.buffers[1].copy_(self.buffers[0])

    def elapsed(self, work):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e-3

    def time(self, calls):
        """`calls`: one for each set of buffers, that take turns."""
        for call in calls * 2:
            call()
        if self.device != "cuda":
            start = time.perf_counter()
            calls[0]()
            seconds = time.perf_counter() - start
            return dict(seconds=seconds, seconds_low_quartile=seconds, seconds_high_quartile=seconds, samples=1,
                        calls_per_sample=1)
        torch.cuda.synchronize()
        host = []
        for _ in range(3):
            start = time.perf_counter()
            calls[0]()
            host.append(time.perf_counter() - start)
            torch.cuda.synchronize()
        copies = self.copies(min(host))
        once = min(self.sample(calls[:1], copies) for _ in range(3))
        per_sample = max(1, min(8, math.ceil(SAMPLE_SECONDS / once)))
        copies = self.copies(per_sample * min(host))
        count = self.seconds / (per_sample * once + copies * self.copy_seconds)
        count = int(max(11, min(101, count)))
        turns = [[calls[(sample * per_sample + i) % len(calls)] for i in range(per_sample)] for sample in range(count)]
        seconds = sorted(self.sample(turn, copies) for turn in turns)
        at = lambda quantile: seconds[round(quantile * (count - 1))]
        return dict(seconds=at(0.5), seconds_low_quartile=at(0.25), seconds_high_quartile=at(0.75), samples=count,
                    calls_per_sample=per_sample)

    def copies(self, host_seconds):
        return min(40, 1 + math.ceil(1.5 * host_seconds / self.copy_seconds))

    def sample(self, calls, copies):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.head_start(copies)
        first.record()
        for call in calls:
            call()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e-3 / len(calls)


class Answers:
    def __init__(self, path, facts, deadline):
        self.path, self.deadline = path, deadline
        self.report = dict(facts, rows=[], failures=[])

    def late(self):
        return time.monotonic() > self.deadline

    def add(self, case, peer, timing):
        row = dict(key=case["key"], peer=peer, **timing, bytes_per_second=case["bytes"] / timing["seconds"],
                   flops_per_second=case["flops"] / timing["seconds"])
        self.report["rows"].append(row)
        self.write()
        print(f"{case['key']:75} {peer:28} {1e6 * row['seconds']:10.1f} us {row['bytes_per_second'] / 1e9:8.0f} GB/s",
              flush=True)

    def fail(self, what, error):
        self.report["failures"].append(dict(what=what, why=f"{type(error).__name__}: {error}"[:400]))
        self.write()
        print(f"{what}: failed: {type(error).__name__}: {str(error).splitlines()[:1]}", flush=True)

    def write(self):
        with open(self.path + ".part", "w", encoding="utf-8") as file:
            json.dump(self.report, file, indent=1)
        os.replace(self.path + ".part", self.path)


class Peers:
    """What stands for an op. A maker returns (forward, inputs, leaves); backward is the gradients of the leaves."""

    def __init__(self, device):
        self.device = device

    def random(self, *shape, dtype=torch.bfloat16, mean=0.0, deviation=1.0, grad=False):
        values = torch.randn(*shape, device=self.device).mul_(deviation).add_(mean).to(dtype)
        return values.requires_grad_(grad)

    def layer_norm(self, case, dtype):
        rows, cols = case["sizes"]["rows"], case["sizes"]["cols"]
        x = self.random(rows, cols, dtype=dtype, grad=True)
        gamma = self.random(cols, dtype=dtype, mean=1.0, deviation=0.1, grad=True)
        beta = self.random(cols, dtype=dtype, deviation=0.1, grad=True)
        if case["variant"] == "alone":
            return layer_norm_alone, (x, gamma, beta), (x, gamma, beta)
        bias = self.random(cols, dtype=dtype, deviation=0.1, grad=True)
        residual = self.random(rows, cols, dtype=dtype, grad=True)
        function = layer_norm_dropout if "dropout" in case["variant"] else layer_norm_residual
        inputs = (x, bias, residual, gamma, beta)
        return function, inputs, inputs

    def bias_gelu(self, case, dtype):
        x = self.random(case["sizes"]["rows"], case["sizes"]["cols"], dtype=dtype, grad=True)
        bias = self.random(case["sizes"]["cols"], dtype=dtype, deviation=0.1, grad=True)
        return {"erf": bias_gelu_erf, "tanh": bias_gelu_tanh}[case["variant"]], (x, bias), (x, bias)

    def bias_tanh(self, case, dtype):
        x = self.random(case["sizes"]["rows"], case["sizes"]["cols"], dtype=dtype, grad=True)
        bias = self.random(case["sizes"]["cols"], dtype=dtype, deviation=0.1, grad=True)
        return bias_tanh, (x, bias), (x, bias)

    def embedding(self, case, dtype):
        tokens, hidden = case["sizes"]["rows"], case["sizes"]["cols"]
        vocabulary = 30528 if self.device == "cuda" else 512
        rank = torch.exp(torch.rand(tokens, device=self.device) * math.log(vocabulary - 1)).long()
        position = torch.arange(tokens, device=self.device) % POSITIONS
        ids = (rank * 7919 % vocabulary, position, position * 2 // POSITIONS)
        tables = [self.random(rows, hidden, dtype=dtype, deviation=0.1, grad=True)
                  for rows in (vocabulary, POSITIONS, 2)]
        gamma = self.random(hidden, dtype=dtype, mean=1.0, deviation=0.1, grad=True)
        beta = self.random(hidden, dtype=dtype, deviation=0.1, grad=True)
        return embedding, (*ids, *tables, gamma, beta), (*tables, gamma, beta)

    def attention(self, case, dtype):
        tokens, length, heads = (case["sizes"][name] for name in ("tokens", "length", "heads"))
        qkv = [self.random(tokens // length, heads, length, 64, dtype=dtype, grad=True) for _ in range(3)]
        function = attention_dropout if case["variant"].endswith(", dropout 0.1") else attention_plain
        return function, qkv, qkv

    def cross_entropy(self, case, dtype):
        rows, classes = case["sizes"]["rows"], case["sizes"]["classes"]
        logits = self.random(rows, classes, dtype=dtype, deviation=2.0, grad="gradient" in case["variant"])
        return logits, torch.randint(classes, (rows,), device=self.device)


# Functions of a module compile once for all rows of tokens.
def layer_norm_alone(x, gamma, beta):
    return functional.layer_norm(x, (x.size(-1),), gamma, beta, 1e-12)


def layer_norm_residual(x, bias, residual, gamma, beta):
    return functional.layer_norm(x + bias + residual, (x.size(-1),), gamma, beta, 1e-12)


def layer_norm_dropout(x, bias, residual, gamma, beta):
    return functional.layer_norm(functional.dropout(x + bias, 0.1) + residual, (x.size(-1),), gamma, beta, 1e-12)


def bias_gelu_erf(x, bias):
    return functional.gelu(x + bias)


def bias_gelu_tanh(x, bias):
    return functional.gelu(x + bias, approximate="tanh")


def bias_tanh(x, bias):
    return torch.tanh(x + bias)


def embedding(token, position, kind, word_table, position_table, kind_table, gamma, beta):
    total = (functional.embedding(token, word_table) + functional.embedding(position, position_table) +
             functional.embedding(kind, kind_table))
    return functional.dropout(functional.layer_norm(total, (total.size(-1),), gamma, beta, 1e-12), 0.1)


def attention_plain(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v)


def attention_dropout(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, dropout_p=0.1)


def loss_of(logits, label):
    return functional.cross_entropy(logits, label)


def loss_in_f32(logits, label):
    return functional.cross_entropy(logits.float(), label)


def dtype_of(case):
    return {"bf16": torch.bfloat16, "f32": torch.float32}[case["dtype"]]


def sets_of(case):
    """Two sets or more, whose calls together move more than the cache holds; one where a call does."""
    return 1 if case["bytes"] > 1e9 else max(2, min(8, math.ceil(ROTATION_BYTES / case["bytes"])))


class Run:
    def __init__(self, cases, answers, device, seconds_per_case):
        self.cases, self.answers, self.device = cases, answers, device
        self.clock, self.peers = Clock(device, seconds_per_case), Peers(device)

    def each(self, ops):
        """The cases of these ops, the largest first, until time is up."""
        for case in sorted((case for case in self.cases if case["op"] in ops), key=lambda case: -case["bytes"]):
            if self.answers.late():
                self.answers.fail(case["key"], TimeoutError("the budget is spent"))
                return
            yield case

    def attempt(self, case, peer, calls_of):
        try:
            self.answers.add(case, peer, self.clock.time(calls_of()))
        except Exception as error:  # noqa: BLE001: one peer that fails must not cost the others
            self.answers.fail(f"{case['key']}: {peer}", error)
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def graph_calls(self, case, stem, wrap):
        """Calls of forward, or of backward alone, of what stands for the op."""
        def of_one_set():
            function, inputs, leaves = getattr(self.peers, stem)(case, dtype_of(case))
            for value in inputs:
                if wrap is not plain and value.size(0) == case["sizes"].get("rows"):
                    torch._dynamo.mark_dynamic(value, 0)
            function = wrap(function)
            if case["op"].endswith("_forward"):
                return lambda: function(*inputs)
            out = function(*inputs)
            upstream = torch.randn_like(out)
            return lambda: torch.autograd.grad(out, leaves, upstream, retain_graph=True)

        return [of_one_set() for _ in range(sets_of(case))]

    def rows(self, peer, wrap):
        for stem in ("layer_norm", "bias_gelu", "embedding", "bias_tanh"):
            for case in self.each((stem + "_forward", stem + "_backward")):
                self.attempt(case, peer, lambda: self.graph_calls(case, stem, wrap))

    def cross_entropy(self, peer, function, wrap):
        for case in self.each(("cross_entropy",)):
            def calls_of():
                def of_one_set():
                    logits, label = self.peers.cross_entropy(case, dtype_of(case))
                    if wrap is not plain:
                        for value in (logits, label):
                            torch._dynamo.mark_dynamic(value, 0)
                    loss = wrap(function)
                    if not logits.requires_grad:
                        return lambda: loss(logits, label)
                    return lambda: torch.autograd.grad(loss(logits, label), logits)

                return [of_one_set() for _ in range(sets_of(case))]

            self.attempt(case, peer, calls_of)

    def eager(self):
        self.rows("PyTorch eager", plain)
        self.cross_entropy("PyTorch eager", loss_of, plain)
        self.cross_entropy("PyTorch eager, f32", loss_in_f32, plain)
        self.moves()

    def compiled(self):
        import torch._functorch.config as compile_settings

        compile_settings.donated_buffer = False  # the kept graph is used again
        wrapped = {}

        def wrap(function):
            if function not in wrapped:
                wrapped[function] = torch.compile(function)
            return wrapped[function]

        self.cross_entropy("torch.compile, f32", loss_in_f32, wrap)
        self.rows("torch.compile", wrap)

    def moves(self):
        """Ops that move or add rows and have no gradient of their own."""
        def calls_of(case):
            sizes, dtype = case["sizes"], dtype_of(case)
            if case["op"] == "cast":
                source, target = ({"bf16": torch.bfloat16, "f32": torch.float32}[name]
                                  for name in case["variant"].split(" to "))
                x = self.peers.random(sizes["elements"], dtype=source)
                y = torch.empty_like(x, dtype=target)
                return lambda: y.copy_(x)
            if case["op"] == "column_sum":
                x = self.peers.random(sizes["rows"], sizes["cols"], dtype=dtype)
                return lambda: torch.sum(x, 0, dtype=torch.float32)
            index = torch.randperm(sizes["of"], device=self.device)[:sizes["rows"]].sort().values
            if case["op"] == "rows_gather":
                x = self.peers.random(sizes["of"], sizes["cols"], dtype=dtype)
                return lambda: torch.index_select(x, 0, index)
            x = torch.empty(sizes["of"], sizes["cols"], dtype=dtype, device=self.device)
            y = self.peers.random(sizes["rows"], sizes["cols"], dtype=dtype)
            return lambda: x.zero_().index_copy_(0, index, y)

        for case in self.each(("cast", "column_sum", "rows_gather", "rows_scatter")):
            self.attempt(case, "PyTorch eager", lambda: [calls_of(case) for _ in range(sets_of(case))])

    def attention(self):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        backends = {"FlashAttention of PyTorch": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
        if self.device != "cuda":
            backends = {"PyTorch, math": SDPBackend.MATH}
        for case in self.each(("attention_forward", "attention_backward")):
            for peer, backend in backends.items():
                with sdpa_kernel(backend):
                    self.attempt(case, peer, lambda: self.graph_calls(case, "attention", plain))

    def cudnn(self):
        """Its own LayerNorm, where the case is nothing else, and its attention without PyTorch around it."""
        try:
            if self.device != "cuda":
                raise RuntimeError("no GPU")
            graphs = CudnnGraphs()
        except Exception as error:  # noqa: BLE001: no module, or one that does not fit this Python or this library
            print(f"cuDNN graphs: not measured: {type(error).__name__}: {error}", flush=True)
            self.answers.report["cudnn_graphs"] = f"not measured: {type(error).__name__}: {error}"[:400]
            return
        self.answers.report["cudnn_graphs"] = f"nvidia-cudnn-frontend {graphs.cudnn.__version__}"
        for case in self.each(("layer_norm_forward", "layer_norm_backward")):
            if case["variant"] == "alone":
                self.attempt(case, "cuDNN LayerNorm",
                             lambda: graphs.layer_norm(case, dtype_of(case), sets_of(case)))
        for case in self.each(("attention_forward", "attention_backward")):
            self.attempt(case, "cuDNN graph", lambda: graphs.attention(case, dtype_of(case), sets_of(case)))
            if case["op"] == "attention_backward":
                self.attempt(case, "cuDNN graph, deterministic",
                             lambda: graphs.attention(case, dtype_of(case), sets_of(case), deterministic=True))

    def updates(self):
        """Over as many f32 elements as the case, in tensors like BERT's: three quarters of them are square."""
        for case in self.each(("gradient_norm", "optimizer_update")):
            if case["variant"] == "LAMB":
                continue
            elements = case["sizes"]["elements"]
            side = 1024 if elements > 200_000_000 else 768 if elements > 10_000_000 else 64
            count = elements // (side * side)
            weights = [self.peers.random(side, side, dtype=torch.float32, deviation=0.02) for _ in range(count)]
            weights.append(self.peers.random(elements - count * side * side, dtype=torch.float32, deviation=0.02))
            for weight in weights:
                weight.grad = torch.randn_like(weight).mul_(1e-3)
            if case["op"] == "gradient_norm":
                grads = [weight.grad for weight in weights]
                self.attempt(case, "PyTorch get_total_norm",
                             lambda: [lambda: torch.nn.utils.get_total_norm(grads, foreach=True)])
                self.attempt(case, "PyTorch clip_grad_norm_",
                             lambda: [lambda: torch.nn.utils.clip_grad_norm_(weights, 1.0, foreach=True)])
            else:
                optimizer = torch.optim.AdamW(weights, lr=1e-6, weight_decay=0.01, fused=True)
                self.attempt(case, "PyTorch fused AdamW, no bf16 copy", lambda: [optimizer.step])
                del optimizer
            del weights


def plain(function):
    return function


def tiny(case):
    """The case at a size for --device cpu."""
    small = dict(rows=48, of=256, cols=64, classes=128, elements=20_000, tokens=128, length=32, heads=2)
    return dict(case, sizes={name: min(value, small[name]) for name, value in case["sizes"].items()}, bytes=10**9 + 1)


def cases_from(path, quick, device):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    cases = [row for section in report["sections"] if section["name"] == "kernels" for row in section["rows"]]
    if not quick and device == "cuda":
        return cases
    largest = {}
    for case in cases:
        known = largest.get((case["op"], case["variant"]))
        if known is None or case["bytes"] > known["bytes"]:
            largest[case["op"], case["variant"]] = case
    return list(largest.values()) if device == "cuda" else [tiny(case) for case in largest.values()]


def facts_of(device):
    facts = dict(program="peers.py", date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                 command=shlex.join(sys.argv), torch=torch.__version__, device="CPU")
    if device == "cuda":
        facts.update(device=torch.cuda.get_device_name(), cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
        try:
            query = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                                   capture_output=True, text=True, timeout=20, check=True)
            facts["driver"] = query.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            facts["driver"] = "nvidia-smi does not answer"
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", required=True)
    parser.add_argument("--json", required=True)
    parser.add_argument("--seconds-per-case", type=float, default=0.06)
    parser.add_argument("--budget", type=float, default=110, help="seconds; what is left then is not measured")
    parser.add_argument("--quick", action="store_true", help="the largest shape of each kernel")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sections", nargs="+", default=["eager", "attention", "updates", "compiled", "cudnn"])
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.budget
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: nothing is measured")
        return 0
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = True
    answers = Answers(arguments.json, facts_of(arguments.device), deadline)
    run = Run(cases_from(arguments.cases, arguments.quick, arguments.device), answers, arguments.device,
              arguments.seconds_per_case)
    for name in arguments.sections:
        start = time.monotonic()
        try:
            getattr(run, name)()
        except Exception as error:  # noqa: BLE001: as above
            traceback.print_exc()
            answers.fail(name, error)
        answers.report[name + "_seconds"] = round(time.monotonic() - start, 1)
        answers.write()
    print(f"{len(answers.report['rows'])} answers, {len(answers.report['failures'])} failures")
    return 0 if answers.report["rows"] else 1


if __name__ == "__main__":
    sys.exit(main())
