#!/usr/bin/env python3
"""Makes real.json: what transformers computes with the checkpoint of make real-model.

    make real-model && python3 internal/perplexity/testdata/make_real.py

Made with torch 2.9.1 (CPU) and transformers 4.57.6. opticks.txt is lines 155 to 200 of Newton's Opticks, 4th edition
(1730, public domain), as Project Gutenberg has it and Go's source tree keeps it (src/testdata/Isaac.Newton-Opticks.txt).
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from make_golden import log_probabilities

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent.parent / ".cache/real-model"
PROMPTS = ["The capital of Germany is", "Once upon a time there was a", "def fibonacci(n):\n    ",
           "Water boils at a temperature of", "To make a good omelette, first"]
WINDOW, STRIDE, NEW = 256, 128, 24

tokenizer = AutoTokenizer.from_pretrained(MODEL)
load = lambda dtype: AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype, attn_implementation="eager").eval()
f32 = load(torch.float32)
ids = tokenizer((HERE / "opticks.txt").read_text()).input_ids
exact = log_probabilities(f32, ids, WINDOW, STRIDE)
rough = log_probabilities(load(torch.bfloat16), ids, WINDOW, STRIDE)
nll = -exact[range(len(ids) - 1), ids[1:]]
greedy = []
for prompt in PROMPTS:
    given = tokenizer(prompt, return_tensors="pt").input_ids
    made = f32.generate(given, max_new_tokens=NEW, do_sample=False, pad_token_id=2)[0, given.shape[1] :].tolist()
    greedy.append(dict(prompt=prompt, ids=given[0].tolist(), greedy=made, text=tokenizer.decode(made)))
result = dict(
    window=WINDOW, stride=STRIDE, ids=ids, perplexity=float(nll.mean().exp()),
    # the distance of transformers' bfloat16 run from its float32 run
    bf16=dict(
        perplexity=float((-rough[range(len(ids) - 1), ids[1:]]).mean().exp()),
        kl=float((exact.exp() * (exact - rough)).sum(-1).mean()),
        same_top=float((exact.argmax(-1) == rough.argmax(-1)).double().mean()),
    ),
    greedy=greedy,
)
(HERE / "real.json").write_text(json.dumps(result) + "\n")
print(len(ids), {k: v for k, v in result.items() if k in ("perplexity", "bf16")}, [g["text"] for g in greedy])
