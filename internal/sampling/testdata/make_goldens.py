#!/usr/bin/env python3
"""Writes golden.json: the results of Hugging Face's logits processors for fixed logits.

    python3 internal/sampling/testdata/make_goldens.py

The file was made with python 3.11, torch==2.9.1 (CPU), transformers==4.57.6. The method _get_logits_processor
of a model builds the processors from a GenerationConfig, as in generate(), and so decides their order.

golden.json has "logits", a list of rows, and "cases". A row is a list of numbers, or {"size": n} for
`formula(n)` below. A case has
  config      keys of generation_config.json, and do_sample
  logits      the index of the row
  ids         ids of the prompt, followed by generated ids
  prompt      how many of the ids belong to the prompt
  kept        the ids that can be chosen after all processors
  scores      the scores of the kept ids, float32
If top_p ends among equal scores, any of them may be kept, because PyTorch's sort is not stable.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

EOS = [3, 7]


def formula(size):
    """Returns numbers from 0 to 16, exact in float32. About 1 in 16 equals another."""
    i = np.arange(size, dtype=np.uint64)
    return ((i * 2654435761 % 2**32) >> 12).astype(np.float32) * np.float32(2.0**-16)


def bf16(x):
    return torch.tensor(x, dtype=torch.float32).to(torch.bfloat16).float().numpy()


def short(values):
    """Returns the shortest decimal numbers that read back as the same float32."""
    return [float(str(v)) for v in values]


random = np.random.default_rng(6)
ROWS = [
    np.array([1, -1, 2, 0.5, 2, -3, 0, 1, 2, -0.25, 1], np.float32),  # ties everywhere
    bf16(random.normal(20, 3, 331)),  # like the logits of a bfloat16 model: ties by rounding
    random.normal(0, 3, 331).astype(np.float32),
    random.normal(0, 0.3, 331).astype(np.float32),  # nearly flat
    np.concatenate([[30.0], random.normal(0, 2, 130)]).astype(np.float32),  # one id is nearly certain
    formula(200064),
]

CONFIGS = [
    dict(),
    dict(repetition_penalty=1.3),
    dict(repetition_penalty=0.7),
    dict(no_repeat_ngram_size=1),
    dict(no_repeat_ngram_size=2),
    dict(no_repeat_ngram_size=3),
    dict(no_repeat_ngram_size=30),
    dict(min_new_tokens=4),
    dict(min_new_tokens=5),
    dict(repetition_penalty=1.1, no_repeat_ngram_size=2, min_new_tokens=9),
    # The ids end in 2, 5, 4, 2, 5, 9, 2, 5. The first 12 of the 16 are the prompt.
    dict(suppress_tokens=[4, 0, 4, -1]),
    dict(begin_suppress_tokens=[1, 2]),
    dict(bad_words_ids=[[2], [5, 2], [2, 5, 4], [4, 5], [9, 2, 5, 1], [3], [7, 7]]),
    dict(bad_words_ids=[[0] * 16 + [6], [10]], suppress_tokens=[9]),
    dict(min_length=16),
    dict(min_length=17),
    dict(max_length=17, forced_eos_token_id=7),
    dict(max_length=17, forced_eos_token_id=[1, 7], suppress_tokens=[7]),
    dict(max_length=18, forced_eos_token_id=7),
    dict(
        repetition_penalty=1.2,
        bad_words_ids=[[5, 8]],
        min_length=30,
        suppress_tokens=[1],
        begin_suppress_tokens=[0],
    ),
]
# The first token after a prompt of one token, and of two.
FIRST = [
    dict(forced_bos_token_id=6),
    dict(forced_bos_token_id=6, begin_suppress_tokens=[6]),
    dict(begin_suppress_tokens=[1, 2]),
    dict(bad_words_ids=[[2, 5, 4], [5, 4]]),
    dict(min_length=2),
]
SAMPLED = [
    dict(top_k=0, temperature=0.7),
    dict(top_k=0, temperature=1.9),
    dict(top_k=1),
    dict(top_k=2),
    dict(top_k=7),
    dict(top_k=50),  # the default
    dict(top_k=1000),
    dict(top_k=0, top_p=0.0),
    dict(top_k=0, top_p=0.1),
    dict(top_k=0, top_p=0.5),
    dict(top_k=0, top_p=0.9),
    dict(top_k=0, top_p=0.999),
    dict(top_k=0, min_p=0.02),
    dict(top_k=0, min_p=0.3),
    dict(top_k=0, min_p=1.0),
    dict(top_k=0, typical_p=0.1),
    dict(top_k=0, typical_p=0.5),
    dict(top_k=0, typical_p=0.95),
    # Each processor sees the result of the one before it.
    dict(temperature=0.8, top_k=40, top_p=0.95),
    dict(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
    dict(temperature=1.5, top_k=100, top_p=0.9, min_p=0.01, typical_p=0.8),
    dict(top_k=3, suppress_tokens=[0, 2], bad_words_ids=[[5, 4]]),
    dict(
        temperature=0.6,
        top_k=0,
        top_p=0.8,
        min_p=0.1,
        typical_p=0.9,
        repetition_penalty=1.2,
        no_repeat_ngram_size=2,
        min_new_tokens=10,
    ),
]


def main():
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            bos_token_id=1,
            eos_token_id=3,
            pad_token_id=0,
        )
    )
    cases = []

    def add(config, row, ids, prompt):
        generation = GenerationConfig(eos_token_id=EOS, pad_token_id=0, **config)
        model._prepare_special_tokens(generation, device="cpu")
        processors = model._get_logits_processor(
            generation, input_ids_seq_length=prompt, encoder_input_ids=None, device="cpu"
        )
        scores = processors(torch.tensor([ids]), torch.tensor(ROWS[row])[None])[0].numpy()
        kept = np.flatnonzero(scores > -np.inf)
        cases.append(
            dict(
                config=config,
                logits=row,
                ids=ids,
                prompt=prompt,
                kept=kept.tolist(),
                scores=short(scores[kept]),
            )
        )

    for row, logits in enumerate(ROWS):
        ids = random.integers(0, len(logits), 8).tolist() + [2, 5, 4, 2, 5, 9, 2, 5]
        for config in CONFIGS + [dict(do_sample=True, **c) for c in SAMPLED]:
            if len(logits) > 1000 and not (
                "top_k" in config and (config["top_k"] or config.get("top_p") == 0.1)
            ):
                continue  # otherwise most of a large vocabulary is kept
            add(config, row, ids, len(ids) - 4)
    for config in FIRST:
        for ids in [5], [2, 5], [5, 2, 5]:
            add(config, 0, ids, min(2, len(ids)))
    rows = [dict(size=len(r)) if len(r) > 1000 else short(r) for r in ROWS]
    golden = dict(
        versions=f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}",
        eos=EOS,
        logits=rows,
        cases=cases,
    )
    path = Path(__file__).resolve().parent / "golden.json"
    text = (
        json.dumps(golden, separators=(",", ":"))
        .replace('{"config"', '\n{"config"')
        .replace('"cases"', '\n"cases"')
    )
    path.write_text(text + "\n")


main()
