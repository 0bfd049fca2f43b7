#!/usr/bin/env python3
"""Times optimizer steps of BERT in PyTorch on a GPU: the same rows, counts and recipe as benchmarks/device_step.cpp.

    device_step.py --model large --max-seq-length 512 --rows 32 64 [--hidden-act gelu_new] [--seconds 6]

transformers' BertForPreTraining with scaled_dot_product_attention, torch.compile, autocast to bf16, fused AdamW, gradient
clipping; the masked-LM head sees masked positions only, as a careful user would write it. Tries each number of rows and
prints one JSON object for the fastest; the others are listed with it. Without torch.compile: --eager.

--device cpu runs one tiny step without meaning: for tests.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as functional
from transformers import BertConfig, BertForPreTraining

SIZES = {
    "large": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
    "base": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
    "tiny": dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512),
}
VOCABULARY = 30528  # 30,522 rounded up to what tensor cores like


def predictions(length):
    return 20 if length == 128 else length * 76 // 512


class Step:
    """One optimizer step over `rows` sequences of `length` random tokens."""

    def __init__(self, options, rows):
        length, masked, device = options.max_seq_length, predictions(options.max_seq_length), options.device
        config = BertConfig(vocab_size=VOCABULARY, hidden_act=options.hidden_act, attn_implementation="sdpa",
                            hidden_dropout_prob=options.dropout, attention_probs_dropout_prob=options.dropout,
                            **SIZES[options.model])
        self.net = BertForPreTraining(config).to(device).train()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, fused=device == "cuda")
        self.ids = torch.randint(1000, 30000, (rows, length), device=device)
        self.types = (torch.arange(length, device=device) >= length // 2).long().expand(rows, length).contiguous()
        first = torch.arange(rows, device=device)[:, None] * length
        self.masked = (first + torch.arange(masked, device=device) * length // masked).flatten()
        self.labels = self.ids.flatten()[self.masked]
        self.next_sentence = torch.randint(2, (rows,), device=device)
        self.autocast = torch.autocast(device, dtype=torch.bfloat16)
        self.loss = self.plain_loss if options.eager else torch.compile(self.plain_loss)

    def plain_loss(self):
        hidden, pooled = self.net.bert(input_ids=self.ids, token_type_ids=self.types)[:2]
        logits = self.net.cls.predictions(hidden.reshape(-1, hidden.size(-1))[self.masked])
        return (functional.cross_entropy(logits.float(), self.labels) +
                functional.cross_entropy(self.net.cls.seq_relationship(pooled).float(), self.next_sentence))

    def __call__(self):
        with self.autocast:
            loss = self.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


def seconds_of(step, options):
    """Between the ends of consecutive steps; the host is never waited for."""
    if options.device == "cpu":
        start = time.perf_counter()
        step()
        return [time.perf_counter() - start]
    for _ in range(8):
        step()
    torch.cuda.synchronize()
    marks, stop = [torch.cuda.Event(enable_timing=True)], time.monotonic() + options.seconds
    marks[0].record()
    while time.monotonic() < stop or len(marks) < 12:
        step()
        marks.append(torch.cuda.Event(enable_timing=True))
        marks[-1].record()
        if len(marks) > 2:
            marks[-3].synchronize()
    torch.cuda.synchronize()
    return sorted(a.elapsed_time(b) * 1e-3 for a, b in zip(marks, marks[1:]))


def measure(options, rows):
    torch._dynamo.reset()
    if options.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(Step(options, rows), options)
    at = lambda quantile: seconds[round(quantile * (len(seconds) - 1))]
    return dict(rows=rows, steps=len(seconds), seconds=at(0.5), seconds_low_quartile=at(0.25),
                seconds_high_quartile=at(0.75), sequences_per_second=rows / at(0.5),
                memory_bytes=torch.cuda.max_memory_allocated() if options.device == "cuda" else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SIZES), default="large")
    parser.add_argument("--max-seq-length", type=int, default=512)
    parser.add_argument("--rows", type=int, nargs="+", default=[32])
    parser.add_argument("--hidden-act", default="gelu_new")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=6, help="of timed steps for each number of rows")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    tried = []
    for rows in options.rows:
        try:
            tried.append(measure(options, rows))
        except (RuntimeError, AssertionError) as error:
            tried.append(dict(rows=rows, error=str(error)[-300:]))
    answers = [answer for answer in tried if "error" not in answer]
    best = max(answers, key=lambda answer: answer["sequences_per_second"], default={})
    print(json.dumps(dict(program=f"PyTorch {torch.__version__}{' eager' if options.eager else ', torch.compile'}",
                          device=torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
                          model=options.model, max_seq_length=options.max_seq_length, hidden_act=options.hidden_act,
                          dropout=options.dropout, **best, tried=tried)))
    return 0 if answers else 1


if __name__ == "__main__":
    raise SystemExit(main())
