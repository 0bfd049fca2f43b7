"""Makes the golden files beside it: what an independent BERT computes, for tests/model/golden_test.cpp.

    python tests/golden/make_golden.py [--check]

The reference is BertForPreTraining of HuggingFace transformers, in float64, on random weights and generated token ids;
dropout is 0. Made with Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0 on a CPU. --check makes
everything again and compares it with what is there, to 1e-12.

    model/                      config.json and model.safetensors as save_pretrained() wrote them. The weights are
                                float32 numbers, so that float32 and float64 start from the same values; biases and
                                LayerNorm are random too, because the usual 0 and 1 hide mistakes.
    batches.json                five batches of ragged sequences: token ids, types, next-sentence label, masked
                                positions with their labels. The reference pads them, Cloze packs them.
    results.json                losses of each case, the three training runs, versions.
    case_<name>.safetensors     on batch 0: logits at the masked positions, in the order of the sequences; next-sentence
                                logits, the gradient of every parameter. float64.
    training_<name>.safetensors the weights after five steps, one batch each. float64.

Cases: gelu (erf) and gelu_new (tanh), where each token sees all of its sequence; past, future, strict_past and
strict_future restrict that. transformers has no strict masks: a query that sees nothing would average what it must not
see. So the four restricted cases run transformers' model with the attention function below, registered through its
AttentionInterface; for "past" and "future" it is checked against transformers' own eager attention under a 4-D mask.

Training runs, all with weight decay 0.01 except on biases and LayerNorm, eps 1e-6, gradients clipped to norm 1:
    adamw   torch.optim.AdamW (bias correction), rate from transformers' get_linear_schedule_with_warmup
    google  AdamWeightDecayOptimizer of Google's BERT, written here from its formula: no bias correction, constant rate
    lamb    LAMB as NVIDIA's BERT trains, written here from its formula: bias correction, trust ratio per tensor, none
            for tensors without decay, constant rate
Clipping multiplies by max_norm / norm when the norm is larger, as tf.clip_by_global_norm does. torch adds 1e-6 to the
norm; results.json states how far the weights of "adamw" move by that.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AttentionInterface, BertConfig, BertForPreTraining, get_linear_schedule_with_warmup

FOLDER = pathlib.Path(__file__).resolve().parent
CLS, SEP, MASK, FIRST_WORD = 2, 3, 4, 5
IGNORED = -100
CONFIG = dict(vocab_size=97, hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48,
              max_position_embeddings=40, type_vocab_size=2, hidden_act="gelu", hidden_dropout_prob=0.0,
              attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12)
# Lengths of the sequences of each batch: the shortest that can be, the whole position table, primes, equal ones.
LENGTHS = [[4, 40, 17, 9, 23], [13, 13, 13, 13, 13], [40, 5, 31], [7, 11, 19, 29, 6, 37], [33, 12, 8, 21]]
VISIBLE = {"past": lambda i, j: j <= i, "future": lambda i, j: j >= i,
           "strict_past": lambda i, j: j < i, "strict_future": lambda i, j: j > i}


def random_weights(generator):
    """float32 values for every parameter; none of them 0 or 1."""
    model = BertForPreTraining(BertConfig(**CONFIG))
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + values if name.endswith("LayerNorm.weight") else values)
    return model


def random_batch(lengths, generator):
    def below(n):
        return int(torch.randint(n, (1,), generator=generator))

    sequences = []
    for length in lengths:
        first = 1 + below(length - 3)  # words of the first text; at least one in the second
        ids = [FIRST_WORD + below(CONFIG["vocab_size"] - FIRST_WORD) for _ in range(length)]
        ids[0], ids[first + 1 if first + 1 < length - 1 else length - 2], ids[-1] = CLS, SEP, SEP
        border = ids.index(SEP)
        candidates = [i for i in range(length) if ids[i] not in (CLS, SEP)]
        order = torch.randperm(len(candidates), generator=generator).tolist()
        masked = sorted(candidates[i] for i in order[:max(1, round(0.15 * length))])
        labels = [ids[i] for i in masked]
        for number, position in enumerate(masked):
            if number % 5 < 4:
                ids[position] = MASK
        sequences.append(dict(ids=ids, types=[0 if i <= border else 1 for i in range(length)],
                              next_sentence_label=below(2), masked_positions=masked, masked_labels=labels))
    return sequences


def padded(sequences):
    longest = max(len(sequence["ids"]) for sequence in sequences)
    rows = len(sequences)
    batch = dict(input_ids=torch.zeros(rows, longest, dtype=torch.long),
                 token_type_ids=torch.zeros(rows, longest, dtype=torch.long),
                 attention_mask=torch.zeros(rows, longest, dtype=torch.long),
                 labels=torch.full((rows, longest), IGNORED),
                 next_sentence_label=torch.tensor([sequence["next_sentence_label"] for sequence in sequences]))
    for row, sequence in enumerate(sequences):
        length = len(sequence["ids"])
        batch["input_ids"][row, :length] = torch.tensor(sequence["ids"])
        batch["token_type_ids"][row, :length] = torch.tensor(sequence["types"])
        batch["attention_mask"][row, :length] = 1
        batch["labels"][row, sequence["masked_positions"]] = torch.tensor(sequence["masked_labels"])
    return batch


def visible_pairs(rule, attention_mask):
    """[batch, 1, query, key]: real keys that the rule lets a query see."""
    index = torch.arange(attention_mask.shape[1])
    pairs = rule(index[:, None], index[None, :])
    return pairs[None, None] & attention_mask[:, None, None, :].bool()


def visible_attention(module, query, key, value, attention_mask, scaling, **_):
    """Not transformers' code: softmax over the visible keys; a query that sees nothing gives 0."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    weights = torch.where(attention_mask, scores.exp(), torch.zeros_like(scores))
    total = weights.sum(-1, keepdim=True)
    weights = weights / torch.where(total == 0, torch.ones_like(total), total)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def load(folder, dtype, hidden_act="gelu", attention="eager"):
    model = BertForPreTraining.from_pretrained(folder / "model", dtype=dtype, attn_implementation=attention)
    assert model.bert.embeddings.word_embeddings.weight is model.cls.predictions.decoder.weight
    if hidden_act != "gelu":
        config = BertConfig(**{**CONFIG, "hidden_act": hidden_act}, attn_implementation=attention)
        other = BertForPreTraining(config).to(dtype)
        other.load_state_dict(model.state_dict())
        model = other
    return model.train()


def run_case(folder, sequences, dtype, hidden_act="gelu", visible=None, attention="eager"):
    model = load(folder, dtype, hidden_act, attention)
    batch = padded(sequences)
    real = batch["labels"] != IGNORED
    if visible is not None:
        pairs = visible_pairs(VISIBLE[visible], batch["attention_mask"])
        hidden = torch.zeros(pairs.shape, dtype=dtype).masked_fill(~pairs, torch.finfo(dtype).min)
        batch["attention_mask"] = pairs if attention == "visible" else hidden
    out = model(**batch)
    out.loss.backward()
    masked_loss = torch.nn.functional.cross_entropy(out.prediction_logits[real], batch["labels"][real])
    tensors = {"gradient." + name: parameter.grad for name, parameter in model.named_parameters()}
    tensors["masked_logits"] = out.prediction_logits[real].detach()
    tensors["next_sentence_logits"] = out.seq_relationship_logits.detach()
    losses = dict(loss=out.loss.item(), masked_loss=masked_loss.item(),
                  next_sentence_loss=out.loss.item() - masked_loss.item())
    return losses, {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def distance(left, right):
    """Largest over the tensors of max |left - right| / max |right|.

    The gradient of a key bias is 0, because softmax does not change when all scores move together; what both sides hold
    is rounding, so it is measured against the gradient of the key weight.
    """
    largest = 0.0
    for name, expected in right.items():
        scale = right[name.replace("key.bias", "key.weight")].abs().max().double()
        largest = max(largest, float((left[name].double() - expected.double()).abs().max() / scale))
    return largest


def no_decay(name):
    return "LayerNorm" in name or name.endswith("bias")


class Google:
    def __init__(self, named, rate):
        self.named, self.rate = named, rate
        self.m = {name: torch.zeros_like(parameter) for name, parameter in named}
        self.v = {name: torch.zeros_like(parameter) for name, parameter in named}

    def step(self):
        for name, parameter in self.named:
            gradient, m, v = parameter.grad, self.m[name], self.v[name]
            m.copy_(0.9 * m + 0.1 * gradient)
            v.copy_(0.999 * v + 0.001 * gradient * gradient)
            update = m / (v.sqrt() + 1e-6)
            if not no_decay(name):
                update = update + 0.01 * parameter
            parameter.sub_(self.rate * update)


class Lamb:
    def __init__(self, named, rate):
        self.named, self.rate, self.t = named, rate, 0
        self.m = {name: torch.zeros_like(parameter) for name, parameter in named}
        self.v = {name: torch.zeros_like(parameter) for name, parameter in named}

    def step(self):
        self.t += 1
        for name, parameter in self.named:
            gradient, m, v = parameter.grad, self.m[name], self.v[name]
            m.copy_(0.9 * m + 0.1 * gradient)
            v.copy_(0.999 * v + 0.001 * gradient * gradient)
            update = (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-6)
            ratio = 1.0
            if not no_decay(name):
                update = update + 0.01 * parameter
                weight_norm, update_norm = parameter.norm(), update.norm()
                if weight_norm > 0 and update_norm > 0:
                    ratio = weight_norm / update_norm
            parameter.sub_(self.rate * ratio * update)


def train(folder, kind, batches, torch_clip=False):
    model = load(folder, torch.float64)
    named = list(model.named_parameters())
    schedule = None
    if kind == "adamw":
        groups = [dict(params=[p for n, p in named if not no_decay(n)], weight_decay=0.01),
                  dict(params=[p for n, p in named if no_decay(n)], weight_decay=0.0)]
        optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.999), eps=1e-6)
        schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=8)
    else:
        optimizer = {"google": Google, "lamb": Lamb}[kind](named, {"google": 1e-3, "lamb": 5e-3}[kind])
    steps = []
    for sequences in batches:
        model.zero_grad()
        loss = model(**padded(sequences)).loss
        loss.backward()
        gradients = [parameter.grad for _, parameter in named]
        norm = torch.nn.utils.get_total_norm(gradients)
        if torch_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        elif norm > 1:
            for gradient in gradients:
                gradient.mul_(1 / norm)
        rate = schedule.get_last_lr()[0] if schedule else optimizer.rate
        steps.append(dict(loss=loss.item(), gradient_norm=norm.item(), learning_rate=rate))
        with torch.no_grad():
            optimizer.step()
        if schedule:
            schedule.step()
    return steps, {name: parameter.detach().clone() for name, parameter in named}


def store(tensors, file):
    save_file(tensors, file)
    file.chmod(0o644)


def make(folder):
    generator = torch.Generator().manual_seed(20181011)
    random_weights(generator).save_pretrained(folder / "model")
    (folder / "model" / "model.safetensors").chmod(0o644)
    batches = [random_batch(lengths, generator) for lengths in LENGTHS]
    (folder / "batches.json").write_text(json.dumps(batches, separators=(",", ":")).replace("]},", "]},\n") + "\n")

    results = dict(versions=dict(python=sys.version.split()[0], torch=torch.__version__,
                                 transformers=transformers.__version__), cases={}, training={})
    cases = {"gelu": {}, "gelu_new": dict(hidden_act="gelu_new")}
    cases |= {name: dict(visible=name, attention="visible") for name in VISIBLE}
    for name, options in cases.items():
        losses, tensors = run_case(folder, batches[0], torch.float64, **options)
        _, single = run_case(folder, batches[0], torch.float32, **options)
        results["cases"][name] = losses | dict(distance_of_reference_in_float32=distance(single, tensors))
        store(tensors, folder / f"case_{name}.safetensors")
        if name in ("past", "future"):
            _, eager = run_case(folder, batches[0], torch.float64, visible=name)
            assert distance(eager, tensors) < 1e-12, f"{name}: differs from transformers' eager attention"
    for kind in ("adamw", "google", "lamb"):
        steps, weights = train(folder, kind, batches)
        results["training"][kind] = dict(steps=steps)
        store(weights, folder / f"training_{kind}.safetensors")
        if kind == "adamw":
            _, clipped = train(folder, kind, batches, torch_clip=True)
            results["training"][kind]["distance_with_torch_clipping"] = distance(clipped, weights)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def check(folder):
    with tempfile.TemporaryDirectory() as made:
        make(pathlib.Path(made))
        for file in sorted(pathlib.Path(made).rglob("*.safetensors")):
            stored = folder / file.relative_to(made)
            far = distance(load_file(file), load_file(stored))
            print(f"{stored.relative_to(folder)}: {far:.1e}")
            assert far < 1e-12, f"{stored} is not what this script makes"
        assert (pathlib.Path(made) / "batches.json").read_text() == (folder / "batches.json").read_text()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare with the files that are there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    AttentionInterface.register("visible", visible_attention)
    check(FOLDER) if arguments.check else make(FOLDER)


if __name__ == "__main__":
    main()
