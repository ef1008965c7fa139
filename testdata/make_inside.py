#!/usr/bin/env python3
"""Writes inside.json, the goldens of `phi3 next-token --layers` and `--attention`.

    python3 testdata/make_inside.py

The versions are those of make_goldens.py. Each prompt is one forward pass of Hugging Face's model in float32
with eager attention. For the last position of each prompt the file has

* the attention [layers][heads][tokens] that output_attentions returns;
* for the embeddings and for every layer, the five highest logits that the final norm and the LM head compute
  from that hidden state.
"""

import json
from pathlib import Path

import torch
from make_goldens import VERSIONS, load_model

HERE = Path(__file__).resolve().parent
PROMPTS = {
    "mini": ["n5", "n150"],
    "medium": ["n5", "n40"],
    "longrope": ["n32", "n33"],
    "partial": ["n40", "n80"],
    "window": ["n8", "n40"],
    "f16": ["n40"],
}


@torch.no_grad()
def inside(model, ids):
    # The input of the final norm. output_hidden_states has the last layer's output only after the norm.
    last_input = {}
    hook = model.model.norm.register_forward_pre_hook(lambda _, args: last_input.update(x=args[0]))
    out = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True, output_attentions=True)
    hook.remove()
    streams = [h[0, -1] for h in out.hidden_states[:-1]] + [last_input["x"][0, -1]]
    lens = []
    for x in streams:
        top = model.lm_head(model.model.norm(x)).topk(5)
        lens.append({"ids": top.indices.tolist(), "logits": [round(v, 5) for v in top.values.tolist()]})
    attention = [[[round(w, 7) for w in head[-1].tolist()] for head in layer[0]] for layer in out.attentions]
    return {"lens": lens, "attention": attention}


def main():
    result = {"versions": VERSIONS, "prompts": []}
    for name, prompts in PROMPTS.items():
        model = load_model(HERE / name, torch.float32, "eager")
        golden = {
            p["name"]: p["ids"] for p in json.loads((HERE / name / "golden.json").read_text())["prompts"]
        }
        for prompt in prompts:
            result["prompts"].append(
                {"checkpoint": name, "prompt": prompt, "ids": golden[prompt]} | inside(model, golden[prompt])
            )
    lines = ",\n".join(json.dumps(p, separators=(",", ":")) for p in result["prompts"])
    (HERE / "inside.json").write_text(f'{{"versions": {json.dumps(VERSIONS)}, "prompts": [\n{lines}\n]}}\n')


main()
