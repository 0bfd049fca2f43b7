"""Training steps on the CPU: Cloze against PyTorch with transformers, same weights, samples and threads, in one run.

    python benchmarks/host_step.py --binary build/bin/host_step [--data DATASET] [--models tiny mini]
                                   [--vocabularies 30522 8000] [--rounds 5] [--steps 10] [--json FILE]

host_step makes the batches and the first weights and writes both; PyTorch reads them. Cloze packs the sequences,
PyTorch pads them to the longest of the batch, so both work on the same real tokens. A step is forward, backward,
clipping at norm 1 and AdamW; making the batch is not counted. Rounds alternate between the programs, so that what else
the machine does falls on both; printed are medians over all steps, and the ratio of each round's medians.

PyTorch runs in several ways, and the fastest counts; those that need 1.5 times as long in a first pass leave the rounds:
    eager, sdpa         transformers' BertForPreTraining as it is, with the two attention implementations. It computes
                        the logits of every position.
    ... masked          the same model called part by part, so that the masked-LM head sees the masked positions only,
                        as in Cloze
    ... compiled        the latter under torch.compile
Optimizer: torch.optim.AdamW(fused=True), gradients set to None between steps, clip_grad_norm_ with foreach.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time


def run_cloze(arguments, model, vocabulary, steps, folder=None):
    command = [arguments.binary, "--model", model, "--vocab-size", str(vocabulary), "--threads", str(arguments.threads),
               "--steps", str(steps), "--warmup", str(arguments.warmup), "--batch-size", str(arguments.batch_size)]
    if arguments.data:
        command += ["--data", arguments.data]
    if folder:
        command += ["--export", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def read_batches(folder, count):
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / "batches.safetensors")
    batches = []
    for step in range(count):
        values = {name: tensors[f"step.{step}.{name}"].long() for name in
                  ("token_id", "type_id", "offset", "next_sentence_label", "masked_row", "masked_label")}
        lengths = (values["offset"][1:] - values["offset"][:-1]).tolist()
        rows, longest = len(lengths), max(lengths)
        # Row of each real token in the padded batch.
        place = torch.cat([torch.arange(length) + row * longest for row, length in enumerate(lengths)])
        batch = {name: torch.zeros(rows * longest, dtype=torch.long) for name in
                 ("input_ids", "token_type_ids", "attention_mask")}
        batch["input_ids"][place] = values["token_id"]
        batch["token_type_ids"][place] = values["type_id"]
        batch["attention_mask"][place] = 1
        labels = torch.full((rows * longest,), -100)
        masked = place[values["masked_row"]]
        labels[masked] = values["masked_label"]
        batch = {name: values.view(rows, longest) for name, values in batch.items()}
        batches.append(dict(inputs=batch, labels=labels.view(rows, longest), masked=masked,
                            masked_label=values["masked_label"], next_sentence_label=values["next_sentence_label"],
                            tokens=sum(lengths), padded=rows * longest))
    return batches


class PyTorch:
    def __init__(self, folder, way):
        import torch
        from transformers import BertForPreTraining

        self.torch = torch
        attention = "sdpa" if "sdpa" in way else "eager"
        self.model = BertForPreTraining.from_pretrained(folder, attn_implementation=attention).train()
        self.masked_only = "masked" in way
        self.loss = self.loss_of_masked if self.masked_only else self.loss_of_all
        if "compiled" in way:
            self.loss = torch.compile(self.loss, dynamic=True)
        decay, rest = [], []
        for name, parameter in self.model.named_parameters():
            (rest if "LayerNorm" in name or name.endswith("bias") else decay).append(parameter)
        groups = [dict(params=decay, weight_decay=0.01), dict(params=rest, weight_decay=0.0)]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, eps=1e-6, fused=True)

    def loss_of_all(self, batch):
        return self.model(**batch["inputs"], labels=batch["labels"],
                          next_sentence_label=batch["next_sentence_label"]).loss

    def loss_of_masked(self, batch):
        out = self.model.bert(**batch["inputs"])
        hidden = out.last_hidden_state.flatten(0, 1)[batch["masked"]]
        logits, next_sentence = self.model.cls(hidden, out.pooler_output)
        cross_entropy = self.torch.nn.functional.cross_entropy
        return cross_entropy(logits, batch["masked_label"]) + cross_entropy(next_sentence, batch["next_sentence_label"])

    def step(self, batch):
        loss = self.loss(batch)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def time(self, batches, warmup):
        seconds, losses = [], []
        for number, batch in enumerate(batches):
            start = time.perf_counter()
            losses.append(self.step(batch))
            if number >= warmup:
                seconds.append(time.perf_counter() - start)
        return seconds, losses


def compare(arguments, model, vocabulary):
    import torch

    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        first = run_cloze(arguments, model, vocabulary, arguments.steps, folder)
        batches = read_batches(folder, arguments.warmup + arguments.steps)
        ways = {way: PyTorch(folder, way) for way in arguments.ways}
    result = dict(model=model, vocabulary=vocabulary, threads=arguments.threads, parameters=first["parameters"],
                  tokens=first["mean_tokens"], sequences=first["mean_sequences"],
                  padded_tokens=statistics.mean(batch["padded"] for batch in batches), rounds=[])
    once = {}
    for way in list(ways):
        try:
            seconds, losses = ways[way].time(batches, arguments.warmup)  # also warms up, and compiles where asked
        except Exception as error:  # a way that does not work here is left out, and said to be
            print(f"  {way}: left out: {type(error).__name__}: {str(error).splitlines()[0]}")
            del ways[way]
            continue
        if abs(losses[0] - first["losses"][0]) > 0.2:
            sys.exit(f"{way}: first loss {losses[0]:.3f}, but Cloze's is {first['losses'][0]:.3f}: not the same work")
        once[way] = statistics.median(seconds)
    for way in [way for way in once if once[way] > 1.5 * min(once.values())]:
        print(f"  {way}: {1e3 * once[way]:.1f} ms, far behind the fastest; not in the rounds")
        del ways[way]
    for _ in range(arguments.rounds):
        medians = {"cloze": run_cloze(arguments, model, vocabulary, arguments.steps)["seconds"]}
        for way, pytorch in ways.items():
            medians[way] = pytorch.time(batches, arguments.warmup)[0]
        result["rounds"].append(medians)
    return summarize(result)


def summarize(result):
    names = result["rounds"][0].keys()
    rounds = result["rounds"]
    result["milliseconds"] = {name: 1e3 * statistics.median([second for each in rounds for second in each[name]])
                              for name in names}
    result["fastest"] = min((name for name in names if name != "cloze"), key=result["milliseconds"].get)
    ratios = [statistics.median(each[result["fastest"]]) / statistics.median(each["cloze"]) for each in rounds]
    result["ratio"] = result["milliseconds"][result["fastest"]] / result["milliseconds"]["cloze"]
    result["ratio_of_rounds"] = [min(ratios), max(ratios)]
    return result


def show(result):
    print(f"\n{result['model']}, vocabulary {result['vocabulary']:,}, {result['parameters']:,} parameters, "
          f"{result['sequences']:.1f} sequences, {result['tokens']:.0f} tokens a step "
          f"({result['padded_tokens']:.0f} with PyTorch's padding), {result['threads']} threads")
    for name, milliseconds in result["milliseconds"].items():
        speed = result["tokens"] / milliseconds * 1e3
        print(f"  {name:22} {milliseconds:9.1f} ms {speed:10,.0f} tokens/s"
              f" {milliseconds / result['milliseconds']['cloze']:8.2f} x Cloze's time")
    low, high = result["ratio_of_rounds"]
    print(f"  Cloze is {result['ratio']:.2f} times as fast as the fastest ({result['fastest']}); "
          f"by rounds {low:.2f} to {high:.2f}")


def machine():
    import torch
    import transformers

    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return dict(date=datetime.date.today().isoformat(), device=cpu.group(1) if cpu else platform.machine(),
                cores=os.cpu_count(), torch=torch.__version__, transformers=transformers.__version__,
                commit=commit.stdout.strip(), command=shlex.join(["python", *sys.argv]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/bin/host_step")
    parser.add_argument("--data", default="")
    parser.add_argument("--models", nargs="+", default=["tiny", "mini"])
    parser.add_argument("--vocabularies", nargs="+", type=int, default=[30522, 8000])
    parser.add_argument("--ways", nargs="+", default=["eager", "sdpa", "eager masked", "sdpa masked",
                                                      "eager masked compiled", "sdpa masked compiled"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.2f}")
    results = []
    for model in arguments.models:
        for vocabulary in arguments.vocabularies:
            results.append(compare(arguments, model, vocabulary))
            show(results[-1])
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(dict(machine(), results=results), indent=1) + "\n")


if __name__ == "__main__":
    main()
