#!/usr/bin/env python3
"""Checkpoints between Cloze and HuggingFace transformers, both ways.

    tests/differential/transformers_checkpoint.py --cloze build/bin/cloze
                                                  --checkpoint-logits build/bin/checkpoint_logits

1. `cloze vocab`, `prepare` and `pretrain` train a tiny model for a few steps on text made here. Its checkpoint must
   load with from_pretrained as BertForPreTraining, BertForMaskedLM and BertModel: no key missing, none unexpected but
   what the class has no part for, no shape changed. It must give the logits that Cloze gives (both in double, from the
   same float32 weights); AutoTokenizer must give the ids of `cloze tokenize`, and the fill-mask pipeline the
   probabilities of `cloze fill-mask`.
2. Checkpoints that transformers wrote (all heads; both GELUs; encoder only, in shards; masked-LM only; bfloat16) must
   load in Cloze, report what they lack, give the same logits, and survive being written again by Cloze.

Exit status 1 on any difference.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (AutoTokenizer, BertConfig, BertForMaskedLM, BertForPreTraining, BertModel, BertTokenizerFast,
                          pipeline)

TOLERANCE = 1e-10  # of the largest value; both sides compute in double
SIZES = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=100,
             max_position_embeddings=64, type_vocab_size=2)
# What transformers lists as unexpected when a class without that part loads a BertForPreTraining checkpoint.
OTHER_PARTS = {BertForPreTraining: (), BertForMaskedLM: ("bert.pooler.", "cls.seq_relationship."),
               BertModel: ("cls.",)}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def require(ok, message):
    if not ok:
        sys.exit(message)


def some_text(sentences, chooser):
    who = ["The sailor", "A baker", "My old teacher", "The painter's dog", "Nobody"]
    does = ["repairs", "carries", "forgets", "admires", "paints"]
    what = ["the ship", "a heavy book", "fresh bread", "her notes", "the café's door"]
    when = ["in the morning", "before noon", "on Sundays", "again, and again", "every evening"]
    lines = []
    for _ in range(sentences):
        lines.append(" ".join(chooser.choice(words) for words in (who, does, what, when)) + ".")
        if chooser.random() < 0.1:
            lines.append("")
    return "\n".join(lines) + "\n"


def some_sequences(vocabulary, chooser):
    sequences = []
    for length in (1, 64, 17, 30):
        border = chooser.randrange(length) + 1
        sequences.append(dict(ids=[chooser.randrange(vocabulary) for _ in range(length)],
                              types=[0 if i < border else 1 for i in range(length)]))
    return sequences


def cloze_logits(arguments, folder, sequences, work, again=None):
    (work / "sequences.json").write_text(json.dumps(sequences))
    output = work / "logits.safetensors"
    output.unlink(missing_ok=True)
    report = json.loads(run(arguments.checkpoint_logits, folder, work / "sequences.json", output,
                            *([again] if again else [])))
    return load_file(output), report


def compare(name, model, sequences, computed):
    """Runs the sequences one by one through a transformers model in double and compares what it has."""
    model = model.double().eval()
    starts = [sum(len(s["ids"]) for s in sequences[:i]) for i in range(len(sequences) + 1)]
    worst = 0.0
    for number, sequence in enumerate(sequences):
        inputs = dict(input_ids=torch.tensor([sequence["ids"]]), token_type_ids=torch.tensor([sequence["types"]]))
        with torch.no_grad():
            out = model(**inputs)
            hidden = getattr(model, "bert", model)(**inputs).last_hidden_state
        tokens = slice(starts[number], starts[number + 1])
        pairs = [(computed["last_hidden_state"][tokens], hidden[0])]
        predictions = getattr(out, "prediction_logits", getattr(out, "logits", None))
        if predictions is not None:
            pairs.append((computed["prediction_logits"][tokens], predictions[0]))
        if hasattr(out, "seq_relationship_logits"):
            pairs.append((computed["seq_relationship_logits"][number], out.seq_relationship_logits[0]))
        for ours, theirs in pairs:
            worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()))
    require(worst <= TOLERANCE, f"{name}: {type(model).__name__} is {worst:.1e} away from Cloze")
    print(f"{name}: {type(model).__name__} and Cloze differ by {worst:.1e} at most")


def load_as(kind, folder):
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    name = kind.__name__
    require(not info["missing_keys"], f"{name}: missing {info['missing_keys']}")
    require(not info["mismatched_keys"], f"{name}: mismatched {info['mismatched_keys']}")
    strange = [key for key in info["unexpected_keys"] if not key.startswith(OTHER_PARTS[kind] or ("nothing",))]
    require(not strange, f"{name}: unexpected {strange}")
    return model


def train_with_cloze(arguments, work, chooser):
    text = work / "text.txt"
    text.write_text(some_text(600, chooser))
    config = work / "config.json"
    config.write_text(json.dumps(SIZES | dict(vocab_size=200, my_note="kept")))
    run(arguments.cloze, "vocab", "--input", text, "--vocab-size", 200, "--output", work / "vocab.txt")
    run(arguments.cloze, "prepare", "--input", text, "--vocab", work / "vocab.txt", "--output", work / "data")
    run(arguments.cloze, "pretrain", "--data", work / "data", "--model", config, "--output", work / "run",
        "--max-seq-length", 32, "--global-batch-size", 8, "--max-steps", 20, "--learning-rate", 1e-3, "--seed", 1)
    return sorted((work / "run").glob("checkpoint-*"))[-1]


def compare_text(arguments, folder, chooser):
    """AutoTokenizer against `cloze tokenize`, the fill-mask pipeline against `cloze fill-mask`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = some_text(50, chooser).split("\n") + ["[MASK] Ünïcode — naïve 東京 don't\tstop", "x" * 120]
    done = subprocess.run([arguments.cloze, "tokenize", "--vocab", folder / "vocab.txt", "--mode", "hf", "--ids"],
                          input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    ids = [[int(word) for word in line.split()] for line in done.stdout.split("\n")[:len(lines)]]
    for line, ours in zip(lines, ids, strict=True):
        theirs = tokenizer(line, add_special_tokens=False)["input_ids"]
        require(ours == theirs, f"tokens of {line!r}: Cloze {ours}, AutoTokenizer {theirs}")

    texts = ["The sailor repairs the [MASK] in the morning.", "Nobody [MASK] fresh bread on [MASK]."]
    out = run(arguments.cloze, "fill-mask", "--checkpoint", folder, "--top-k", 7, "--json", *texts)
    fill = pipeline("fill-mask", model=str(folder), top_k=7)
    for text, line in zip(texts, out.splitlines(), strict=True):
        theirs = fill(text)
        theirs = [theirs] if isinstance(theirs[0], dict) else theirs
        for ours, expected in zip(json.loads(line)["masks"], theirs, strict=True):
            for one, other in zip(ours, expected, strict=True):
                close = abs(one["probability"] - other["score"]) <= 1e-5
                require(close, f"fill-mask of {text!r}: Cloze {one}, transformers {other}")
    print(f"{len(lines)} lines have the same ids, {len(texts)} texts the same fill-mask probabilities")


def cloze_to_transformers(arguments, work):
    chooser = random.Random(5)
    folder = train_with_cloze(arguments, work, chooser)
    config = BertConfig.from_pretrained(folder)
    require(config.my_note == "kept", "config.json: the unknown key my_note was lost")
    sequences = some_sequences(config.vocab_size, chooser)
    computed, report = cloze_logits(arguments, folder, sequences, work)
    require(not any(report.values()), f"Cloze's own checkpoint: {report}")
    for kind in OTHER_PARTS:
        compare("written by Cloze", load_as(kind, folder), sequences, computed)
    compare_text(arguments, folder, chooser)


def disturb(model, generator):
    """Gives biases and LayerNorm random values too: the usual 0 and 1 hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def transformers_to_cloze(arguments, work):
    chooser = random.Random(6)
    generator = torch.Generator().manual_seed(6)
    heads = {"cls.predictions.bias", "cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    heads |= {f"cls.predictions.transform.{part}" for part in
              ("dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias")}
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    cases = [("all heads", BertForPreTraining, {}, {}, torch.float32, set()),
             ("tanh GELU", BertForPreTraining, dict(hidden_act="gelu_new"), {}, torch.float32, set()),
             ("bfloat16", BertForPreTraining, {}, {}, torch.bfloat16, set()),
             ("encoder in shards", BertModel, {}, dict(max_shard_size="40KB"), torch.float32, heads),
             ("masked-LM only", BertForMaskedLM, {}, {}, torch.float32,
              pooler | {name for name in heads if "seq_relationship" in name})]
    for number, (name, kind, changes, saving, dtype, missing) in enumerate(cases):
        folder = work / f"theirs-{number}"
        config = BertConfig(**{**SIZES, "vocab_size": 131, **changes})
        disturb(kind(config), generator).to(dtype).save_pretrained(folder, **saving)
        require(not saving or len(list(folder.glob("*.safetensors"))) > 1, f"{name}: came out as one file")
        sequences = some_sequences(config.vocab_size, chooser)
        again = work / f"again-{number}"
        computed, report = cloze_logits(arguments, folder, sequences, work, again)
        require(set(report["missing"]) == missing, f"{name}: Cloze misses {report['missing']}")
        require(not report["unused"], f"{name}: Cloze has no place for {report['unused']}")
        compare(name, kind.from_pretrained(folder, dtype=torch.float32), sequences, computed)
        compare(f"{name}, written again", load_as(kind, again), sequences, computed)
        if not missing:
            theirs, ours = load_file(folder / "model.safetensors"), load_file(again / "model.safetensors")
            require(theirs.keys() == ours.keys(), f"{name}: other keys: {theirs.keys() ^ ours.keys()}")
            require(all(torch.equal(theirs[key].float(), ours[key]) for key in ours), f"{name}: a weight changed")


def old_names(arguments, work):
    """A folder as the hub's oldest have it: gamma and beta, position_ids, a stored decoder, a vocabulary file."""
    model = disturb(BertForPreTraining(BertConfig(**SIZES, vocab_size=131)), torch.Generator().manual_seed(7))
    folder = work / "old"
    model.save_pretrained(folder)
    tensors = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
               for name, tensor in load_file(folder / "model.safetensors").items()}
    tensors["bert.embeddings.position_ids"] = torch.arange(64).expand(1, -1).clone()
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    sequences = some_sequences(131, random.Random(7))
    computed, report = cloze_logits(arguments, folder, sequences, work)
    require(not report["missing"] and not report["unused"], f"old names: {report}")
    compare("old names", model, sequences, computed)

    # fill-mask with a tokenizer that transformers wrote.
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [chr(ord("a") + i // 5) + "aeiou"[i % 5] for i in range(126)]
    (work / "words.txt").write_text("\n".join(words) + "\n")
    BertTokenizerFast(str(work / "words.txt")).save_pretrained(folder)
    if not (folder / "vocab.txt").exists():
        (folder / "vocab.txt").write_text((work / "words.txt").read_text())
    out = run(arguments.cloze, "fill-mask", "--checkpoint", folder, "--top-k", 3, "--json", "ba [MASK] ce")
    model.save_pretrained(folder)  # transformers no longer reads the old names
    expected = pipeline("fill-mask", model=str(folder), top_k=3)("ba [MASK] ce")
    for ours, theirs in zip(json.loads(out)["masks"][0], expected, strict=True):
        require(abs(ours["probability"] - theirs["score"]) <= 1e-5, f"fill-mask: Cloze {ours}, transformers {theirs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cloze", required=True, type=pathlib.Path)
    parser.add_argument("--checkpoint-logits", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        transformers_to_cloze(arguments, pathlib.Path(name))
        old_names(arguments, pathlib.Path(name))
        cloze_to_transformers(arguments, pathlib.Path(name))


if __name__ == "__main__":
    main()
