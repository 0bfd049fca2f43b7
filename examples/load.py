"""A checkpoint of Cloze in Python: fills in a [MASK] with HuggingFace transformers.

    python examples/load.py CHECKPOINT "It was the [MASK] day of the year."

CHECKPOINT is a folder RUN/checkpoint-NNNNNNNN. Needs the packages torch and transformers.
"""

import sys

import torch
from transformers import AutoTokenizer, BertForPreTraining

folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = BertForPreTraining.from_pretrained(folder).eval()
inputs = tokenizer(text, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).prediction_logits[0]
for place in (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten():
    probabilities = logits[place].softmax(-1)
    for probability, piece in zip(*probabilities.topk(3)):
        print(f"{100 * probability.item():5.1f} %  {tokenizer.decode(piece)}")
