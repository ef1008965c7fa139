#!/usr/bin/env python3
"""Makes the small Phi-3 checkpoints in this folder and what Hugging Face computes from them.

    python3 testdata/make_goldens.py                  # every checkpoint of CHECKPOINTS below
    python3 testdata/make_goldens.py mini window      # only these
    python3 testdata/make_goldens.py --demo internal/demo/checkpoint   # the built-in model and its tokenizer

The Go tests read the results and do not need Python. The files were made with
    python 3.11+, torch==2.9.1 (CPU), transformers==4.57.6, tokenizers==0.22.2, safetensors==0.8.0,
    numpy==2.4.6
Some checkpoints below name another version of transformers. A run makes the checkpoints of the installed
version. The same seed and versions give the same bytes. README.md here describes the files.

`reference` below is an independent forward pass in numpy float64. Every float32 logit and hidden state of
Hugging Face must agree with it before the script saves anything.
"""

import argparse
import json
import math
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import safetensors
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "internal/demo/checkpoint"
USUAL = "4.57.6"  # the version of transformers for checkpoints that do not name another
VERSIONS = (
    f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, "
    f"tokenizers {tokenizers.__version__}, safetensors {safetensors.__version__}, numpy {np.__version__}"
)


# -------------------------------------------------------------------------------------------- the checkpoints


def ramp(n, first, last, wobble):
    """Returns n different long-RoPE factors that rise from first to last, as in the real checkpoints."""
    return [round(first + (last - first) * (j / (n - 1)) ** 2 + wobble * (j % 5) / 5, 4) for j in range(n)]


# "config" has the keys that differ from BASE, "prompts" the lengths of the random prompts. "shards" > 1 adds
# an index. "transformers" names a version other than USUAL. "value_scale" multiplies the rows of V and
# divides o_proj.
BASE = dict(
    architectures=["Phi3ForCausalLM"],
    model_type="phi3",
    hidden_act="silu",
    attention_bias=False,
    attention_dropout=0.0,
    embd_pdrop=0.0,
    resid_pdrop=0.0,
    initializer_range=0.02,
    use_cache=True,
    bos_token_id=1,
    max_position_embeddings=512,
    original_max_position_embeddings=512,
    partial_rotary_factor=1.0,
    rms_norm_eps=1e-5,
    rope_scaling=None,
    rope_theta=10000.0,
    sliding_window=None,
    tie_word_embeddings=False,
    torch_dtype="bfloat16",
    transformers_version="4.57.6",
)
CHECKPOINTS = {
    # Multi-head attention, head_dim = hidden/heads. 120 + 24 and 150 cross the end of a chunk of 128 keys.
    "mini": dict(
        seed=1,
        shards=2,
        prompts=[1, 5, 120, 150],
        new_tokens=24,
        config=dict(
            vocab_size=331,
            hidden_size=192,
            intermediate_size=136,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
        ),
    ),
    # Grouped-query attention, head_dim 128 given by the config, and the rope_theta of phi-4.
    "medium": dict(
        seed=2,
        shards=1,
        prompts=[1, 5, 40],
        new_tokens=24,
        config=dict(
            vocab_size=320,
            hidden_size=64,
            intermediate_size=136,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=128,
            rope_theta=250000.0,
        ),
    ),
    # Long RoPE: 32 tokens use the short factors, 33 the long ones. 26 + 16 generates across this limit.
    "longrope": dict(
        seed=3,
        shards=1,
        prompts=[5, 26, 32, 33, 48],
        new_tokens=16,
        config=dict(
            vocab_size=320,
            hidden_size=192,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            original_max_position_embeddings=32,
            rope_scaling=dict(
                type="longrope", short_factor=ramp(48, 1.0, 2.8, 0.05), long_factor=ramp(48, 1.07, 24.0, 0.6)
            ),
        ),
    ),
    # Like Phi-4-mini: 96 of 128 dimensions rotate, the embedding is the LM head, grouped queries, long RoPE.
    "partial": dict(
        seed=4,
        shards=2,
        prompts=[5, 40, 58, 80],
        new_tokens=16,
        config=dict(
            vocab_size=331,
            hidden_size=256,
            intermediate_size=72,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            partial_rotary_factor=0.75,
            tie_word_embeddings=True,
            max_position_embeddings=256,
            original_max_position_embeddings=64,
            rope_scaling=dict(
                type="longrope", short_factor=ramp(48, 1.0, 1.6, 0.03), long_factor=ramp(48, 1.0, 30.0, 0.7)
            ),
        ),
    ),
    # Each query sees itself and the 6 keys before it.
    "window": dict(
        seed=5,
        shards=1,
        prompts=[6, 7, 8, 40],
        new_tokens=24,
        config=dict(
            vocab_size=331,
            hidden_size=64,
            intermediate_size=136,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=96,
            sliding_window=7,
        ),
    ),
    # Float16 weights, many of which bfloat16 cannot represent, and an epsilon that is large enough to matter.
    "f16": dict(
        seed=6,
        shards=1,
        prompts=[1, 5, 40],
        new_tokens=16,
        config=dict(
            vocab_size=331,
            hidden_size=64,
            intermediate_size=136,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=96,
            torch_dtype="float16",
            rms_norm_eps=1e-2,
        ),
    ),
    # Float32 weights. The config names the type with the newer key.
    "f32": dict(
        seed=8,
        shards=1,
        prompts=[1, 5, 40],
        new_tokens=16,
        config=dict(
            vocab_size=131,
            hidden_size=64,
            intermediate_size=72,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=96,
            torch_dtype=None,
            dtype="float32",
        ),
    ),
    # Float32 values too small for float16: the rows of V are about 1e-7. o_proj is larger by the same factor.
    "smallv": dict(
        seed=14,
        shards=1,
        prompts=[1, 5, 40],
        new_tokens=16,
        value_scale=1e-6,
        config=dict(
            vocab_size=131,
            hidden_size=64,
            intermediate_size=72,
            num_hidden_layers=2,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=96,
            torch_dtype="float32",
        ),
    ),
    # The window of older versions: a query sees one key more, k >= q - W.
    "window-compat": dict(
        seed=13,
        shards=1,
        prompts=[7, 8, 9, 40],
        new_tokens=24,
        transformers="4.41.2",
        config=dict(
            vocab_size=331,
            hidden_size=96,
            intermediate_size=136,
            num_hidden_layers=3,
            num_attention_heads=1,
            num_key_value_heads=1,
            sliding_window=7,
        ),
    ),
    # Written by transformers 5: one object has all settings of RoPE, the attention factor comes from "factor"
    # and not from the ratio of the lengths (8), and config.json has a list of end-of-sequence ids.
    "v5": dict(
        seed=9,
        shards=1,
        prompts=[5, 31, 32, 33, 40],
        new_tokens=16,
        every_position=True,
        transformers="5.15.0",
        config=dict(
            vocab_size=131,
            hidden_size=128,
            intermediate_size=72,
            num_hidden_layers=2,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=256,
            original_max_position_embeddings=32,
            partial_rotary_factor=None,
            rope_scaling=None,
            rope_theta=None,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=20000.0,
                partial_rotary_factor=0.75,
                factor=20.0,
                short_factor=ramp(48, 1.0, 1.6, 0.03),
                long_factor=ramp(48, 1.07, 24.0, 0.6),
            ),
        ),
    ),
    # A label for each text. Padding at the end is skipped, but counts for the choice of the RoPE factors.
    "sequence": dict(
        seed=10,
        shards=1,
        prompts=[1, 5, 16, 17, 40],
        pads=[(5, 1), (15, 1), (15, 2), (0, 3)],
        every_position=True,
        config=dict(
            architectures=["Phi3ForSequenceClassification"],
            id2label={"0": "negative", "1": "neutral", "2": "positive"},
            vocab_size=2560,
            hidden_size=96,
            intermediate_size=136,
            num_hidden_layers=2,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=256,
            original_max_position_embeddings=16,
            rope_scaling=dict(
                type="longrope", short_factor=ramp(48, 1.0, 2.8, 0.05), long_factor=ramp(48, 1.07, 24.0, 0.6)
            ),
        ),
    ),
    # A label for every token.
    "tokens": dict(
        seed=11,
        shards=1,
        prompts=[1, 5, 40],
        every_position=True,
        config=dict(
            architectures=["Phi3ForTokenClassification"],
            id2label={"0": "O", "1": "PER", "2": "LOC", "3": "ORG", "4": "MISC"},
            vocab_size=2560,
            hidden_size=64,
            intermediate_size=136,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=96,
            sliding_window=7,
        ),
    ),
}
LABELLED_TEXTS = [
    "The capital of Germany is",
    "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.",
    "Ok!",
]


def shapes(cfg):
    """Returns the tensors' shapes by name, in checkpoint order. Linear weights are [out, in]."""
    h, i, hd = cfg["hidden_size"], cfg["intermediate_size"], head_dim(cfg)
    nh, nkv = cfg["num_attention_heads"], cfg["num_key_value_heads"]
    out = {"model.embed_tokens.weight": (cfg["vocab_size"], h)}
    for n in range(cfg["num_hidden_layers"]):
        out |= {
            f"model.layers.{n}.input_layernorm.weight": (h,),
            f"model.layers.{n}.self_attn.qkv_proj.weight": ((nh + 2 * nkv) * hd, h),
            f"model.layers.{n}.self_attn.o_proj.weight": (h, nh * hd),
            f"model.layers.{n}.post_attention_layernorm.weight": (h,),
            f"model.layers.{n}.mlp.gate_up_proj.weight": (2 * i, h),
            f"model.layers.{n}.mlp.down_proj.weight": (h, i),
        }
    out["model.norm.weight"] = (h,)
    if labels := cfg.get("id2label"):
        out["score.weight"] = (len(labels), h)
        if "Token" in cfg["architectures"][0]:
            out["score.bias"] = (len(labels),)
    elif not cfg["tie_word_embeddings"]:
        out["lm_head.weight"] = (cfg["vocab_size"], h)
    return out


def random_weight(rng, name, shape, cfg):
    """Returns a weight on a scale where mistakes show: uneven attention, logits several units apart."""
    if name.endswith("norm.weight"):
        return 1 + 0.3 * rng.uniform(-1, 1, shape)
    if name.endswith("bias"):
        return rng.uniform(-1, 1, shape)
    w = rng.standard_normal(shape) / math.sqrt(shape[1])
    rows = np.arange(shape[0])[:, None]
    if "qkv_proj" in name:
        # The standard deviation of the scores is about 1.5, also after the long-RoPE attention factor.
        qk_rows = (cfg["num_attention_heads"] + cfg["num_key_value_heads"]) * head_dim(cfg)
        return w * np.where(rows < qk_rows, math.sqrt(1.5) / attention_factor(cfg), 1.0)
    if "o_proj" in name:
        return w * 1.5
    if "gate_up_proj" in name:
        return w * np.where(rows < cfg["intermediate_size"], 1.5, 1.0)
    if "down_proj" in name:
        return w * 1.5
    if "score" in name:
        return w * 1.5
    # Embedding and LM head. The end-of-sequence rows are small, so that greedy decoding never chooses them.
    w = w * (3.0 if name.startswith("lm_head") or cfg["tie_word_embeddings"] else math.sqrt(shape[1]))
    return w * np.where(rows >= cfg["vocab_size"] - 2, 0.25, 1.0)


def make_checkpoint(folder, spec):
    cfg = BASE | spec["config"]
    cfg = {
        k: v
        for k, v in cfg.items()
        if not (k in ("torch_dtype", "partial_rotary_factor", "rope_theta") and v is None)
    }
    labels = cfg.get("id2label")
    # The classifiers use the tokenizer of the built-in model, where <|endoftext|> is 2500.
    cfg["eos_token_id"] = cfg["pad_token_id"] = 2500 if labels else cfg["vocab_size"] - 1
    if labels:
        cfg["label2id"] = {label: int(i) for i, label in labels.items()}
    dtype = getattr(torch, cfg.get("torch_dtype") or cfg["dtype"])
    rng = np.random.Generator(np.random.PCG64(spec["seed"]))
    weights = {
        name: torch.from_numpy(random_weight(rng, name, shape, cfg).astype(np.float32)).to(dtype)
        for name, shape in shapes(cfg).items()
    }
    for name, w in weights.items():  # the product of the two stays the same
        if "qkv_proj" in name:
            w[-cfg["num_key_value_heads"] * head_dim(cfg) :] *= spec.get("value_scale", 1)
        if "o_proj" in name:
            w /= spec.get("value_scale", 1)

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    if transformers.__version__.startswith("5."):  # this version of transformers writes all files
        config = AutoConfig.for_model(
            **cfg | {"eos_token_id": [cfg["vocab_size"] - 1, cfg["vocab_size"] - 2]}
        )
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.load_state_dict(weights)
        model.save_pretrained(folder)
        return json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", dict(sorted(cfg.items())))
    if labels:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return cfg
    write_json(
        folder / "generation_config.json",
        {
            "_from_model_config": True,
            "bos_token_id": 1,
            "eos_token_id": [cfg["vocab_size"] - 1, cfg["vocab_size"] - 2],
            "pad_token_id": cfg["pad_token_id"],
            "transformers_version": "4.57.6",
        },
    )
    if spec["shards"] == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return cfg
    # Split inside layer 0, so that one layer is in both files, as in the real checkpoints.
    names, weight_map = list(weights), {}
    for s, part in enumerate((names[:4], names[4:]), start=1):
        file = f"model-{s:05d}-of-00002.safetensors"
        save_file({n: weights[n] for n in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(w.numel() * w.element_size() for w in weights.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )
    return cfg


# -------------------------------------------------------------------------- the independent float64 reference


def head_dim(cfg):
    return cfg.get("head_dim") or cfg["hidden_size"] // cfg["num_attention_heads"]


def rope_settings(cfg):
    """Returns the RoPE settings under the same names for all formats. "short" is None for plain RoPE."""
    r = cfg.get("rope_scaling") or cfg.get("rope_parameters") or {}
    orig = cfg["original_max_position_embeddings"]
    return dict(
        theta=r.get("rope_theta", cfg.get("rope_theta", 10000.0)),
        partial=r.get("partial_rotary_factor", cfg.get("partial_rotary_factor", 1.0)),
        short=r.get("short_factor"),
        long=r.get("long_factor"),
        original=orig,
        factor=r.get("factor", cfg["max_position_embeddings"] / orig),
    )


def attention_factor(cfg):
    """Returns the factor of cos and sin, for short and long texts.

    With long RoPE it is sqrt(1 + ln(factor) / ln(original length)).
    """
    rope = rope_settings(cfg)
    if rope["long"] is None or rope["factor"] <= 1:
        return 1.0
    return math.sqrt(1 + math.log(rope["factor"]) / math.log(rope["original"]))


def rope_tables(cfg, n, wrong_factors=False):
    """Returns cos, sin [n, rd/2] for positions 0..n-1 of a sequence of n tokens. The phase is float32."""
    rope = rope_settings(cfg)
    rd = int(head_dim(cfg) * rope["partial"])
    exponent = np.arange(0, rd, 2, dtype=np.float32) / np.float32(rd)
    inv_freq = 1 / np.float32(rope["theta"]) ** exponent
    if rope["long"] is not None:
        # The choice depends on the length of the whole sequence, not on the position.
        long = (n > rope["original"]) != wrong_factors
        inv_freq = inv_freq / np.array(rope["long" if long else "short"], dtype=np.float32)
    phase = (np.arange(n, dtype=np.float32)[:, None] * inv_freq.astype(np.float32)).astype(np.float64)
    return np.cos(phase) * attention_factor(cfg), np.sin(phase) * attention_factor(cfg)


def rotate(x, cos, sin):
    """Rotates x [n, heads, hd]: dimension j with dimension j + rd/2. Dimensions from rd on stay the same."""
    half = cos.shape[1]
    c, s = cos[:, None, :], sin[:, None, :]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([a * c - b * s, b * c + a * s, rest], axis=-1)


def rms_norm(x, w, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w


def reference(cfg, weights, ids, window_extra=0, wrong_factors=False, stats=None):
    """Returns hidden states [L+1][n, H] (the last one after the norm) and logits [n, V], in float64.

    window_extra and wrong_factors make two common mistakes, to prove that the goldens show them.
    """
    w = {name: t.to(torch.float64).numpy() for name, t in weights.items()}
    n, hd, eps = len(ids), head_dim(cfg), cfg["rms_norm_eps"]
    nh = cfg["num_attention_heads"]
    nkv = cfg.get("num_key_value_heads") or nh
    cos, sin = rope_tables(cfg, n, wrong_factors)

    q_pos, k_pos = np.arange(n)[:, None], np.arange(n)[None, :]
    visible = k_pos <= q_pos
    if cfg.get("sliding_window") is not None:
        visible &= k_pos > q_pos - cfg["sliding_window"] - window_extra

    x = w["model.embed_tokens.weight"][ids]
    hidden = [x]
    for layer in range(cfg["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        qkv = rms_norm(x, w[p + "input_layernorm.weight"], eps) @ w[p + "self_attn.qkv_proj.weight"].T
        q, k, v = np.split(qkv.reshape(n, nh + 2 * nkv, hd), [nh, nh + nkv], axis=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        heads = []
        for h in range(nh):
            kv = h // (nh // nkv)  # consecutive query heads use the same key/value head
            scores = q[:, h] @ k[:, kv].T / math.sqrt(hd)
            if stats is not None:
                stats.append(scores[visible].std())
            scores = np.where(visible, scores, -np.inf)
            e = np.exp(scores - scores.max(axis=-1, keepdims=True))
            heads.append(e / e.sum(axis=-1, keepdims=True) @ v[:, kv])
        x = x + np.concatenate(heads, axis=-1) @ w[p + "self_attn.o_proj.weight"].T

        gate_up = (
            rms_norm(x, w[p + "post_attention_layernorm.weight"], eps) @ w[p + "mlp.gate_up_proj.weight"].T
        )
        gate, up = np.split(gate_up, 2, axis=-1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[p + "mlp.down_proj.weight"].T
        hidden.append(x)
    y = rms_norm(x, w["model.norm.weight"], eps)
    hidden[-1] = y  # Hugging Face returns the last layer's output only after the final norm
    if "score.weight" in w:
        return hidden, y @ w["score.weight"].T + w.get("score.bias", 0)
    head = "model.embed_tokens.weight" if cfg.get("tie_word_embeddings") else "lm_head.weight"
    return hidden, y @ w[head].T


# ----------------------------------------------------------------------------------------------- Hugging Face


def kind_of(folder):
    """Returns the model class of the checkpoint."""
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    return {
        "Phi3ForCausalLM": AutoModelForCausalLM,
        "Phi3ForSequenceClassification": AutoModelForSequenceClassification,
        "Phi3ForTokenClassification": AutoModelForTokenClassification,
    }[architecture]


def load_model(folder, dtype, attention="sdpa"):
    """Loads the model as dtype. `.to(bfloat16)` on a loaded model would also round the RoPE frequencies."""
    old = transformers.__version__ < "4.50"
    model = (
        kind_of(folder)
        .from_pretrained(folder, **{"torch_dtype" if old else "dtype": dtype}, attn_implementation=attention)
        .eval()
    )
    assert model.config._attn_implementation == attention
    assert model.dtype == dtype and (old or model.model.rotary_emb.inv_freq.dtype == torch.float32)
    return model


@torch.no_grad()
def forward(model, ids):
    """Returns hidden states [L+1, n, H] and logits [n, V] or [n, labels] as float32 arrays. Uses no cache."""
    out = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    last = model.model(torch.tensor([ids]), use_cache=False).last_hidden_state
    assert torch.equal(out.hidden_states[-1], last)
    logits = out.logits[0]
    if "Sequence" in type(model).__name__:  # it returns those of one position only
        logits = model.score(last)[0]
        assert torch.equal(logits[pooled_position(ids, model.config.pad_token_id)], out.logits[0])
    return torch.cat(out.hidden_states).float().numpy(), logits.float().numpy()


def pooled_position(ids, pad):
    """Returns the position of a text's label: the last token that is not padding, or 0 if all are."""
    return max([i for i, token in enumerate(ids) if token != pad], default=0)


@torch.no_grad()
def greedy(model, ids, count, eos=()):
    """Generates greedily with a full forward pass each step, so that the RoPE factors fit the current length.

    Returns the ids up to the first one of eos, the gap between the two largest logits of each step, and the
    logits [steps, V]. Of equal logits the lowest id is chosen, as in Hugging Face.
    """
    ids, new, gaps, rows = list(ids), [], [], []
    while len(new) < count and not (new and new[-1] in eos):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].float().numpy()
        second, first = np.partition(logits, -2)[-2:]
        token = int(np.argmax(logits))
        ids.append(token)
        new.append(token)
        gaps.append(float(first - second))
        rows.append(logits)
    return new, gaps, np.stack(rows)


@torch.no_grad()
def generate_cached(model, ids, count):
    """Generates with Hugging Face's generate and its cache. In float32 the ids must be those of `greedy`."""
    prompt = torch.tensor([ids])
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count, use_cache=True
    )
    return out[0, len(ids) :].tolist()


def relative_error(got, want):
    """Returns the largest difference of all elements, divided by the root mean square of the true values."""
    return float(np.abs(got - want).max() / np.sqrt(np.mean(np.square(want))))


def checkpoint_weights(folder):
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    return weights


def kept_positions(n):
    """Returns all positions of a short prompt, but only the first 2 and last 6 of a long one."""
    return list(range(n)) if n <= 8 else [0, 1, *range(n - 6, n)]


def run_prompts(folder, cfg, prompts, new_tokens, eos=(), random_weights=True, every_position=False):
    """Runs prompts, a list of {"name", "ids", …}. Adds positions and greedy runs; returns (prompts, tensors).

    For random weights it also checks that mistakes show and that no step has nearly equal logits. If a check
    fails, choose another seed.
    """
    weights = checkpoint_weights(folder)
    attention = attention_of(transformers.__version__)
    f32, bf16 = load_model(folder, torch.float32, attention), load_model(folder, torch.bfloat16, attention)
    eager = load_model(folder, torch.float32, "eager")
    causal = kind_of(folder) is AutoModelForCausalLM
    extra = int(is_compat(transformers.__version__))
    rope = rope_settings(cfg)
    tensors, stats = {}, []
    for prompt in prompts:
        ids, name = prompt["ids"], prompt["name"]
        n = len(ids)
        positions = list(range(n)) if every_position else kept_positions(n)
        hidden, logits = forward(f32, ids)
        hidden16, logits16 = forward(bf16, ids)

        want_hidden, want_logits = reference(
            cfg, weights, ids, window_extra=extra, stats=stats if n > 1 else None
        )
        err = max(
            [relative_error(logits, want_logits)]
            + [relative_error(a, b) for a, b in zip(hidden, want_hidden)]
        )
        assert err < 1e-4, f"{folder.name}/{name}: float32 run is {err:.1e} from the reference"
        hidden_eager, logits_eager = forward(eager, ids)
        eager_err = max(relative_error(logits_eager, logits), relative_error(hidden_eager, hidden))
        assert eager_err < 1e-4, f"{folder.name}/{name}: eager and sdpa differ by {eager_err:.1e}"
        window = cfg.get("sliding_window")
        if window is not None and n > window + extra:  # an off-by-one window must change the logits clearly
            off_by_one = relative_error(logits, reference(cfg, weights, ids, window_extra=1 - extra)[1])
            assert off_by_one > 0.1, f"{folder.name}/{name}: an off-by-one window would not show"
        if random_weights and rope["long"] is not None and len(set(ids)) > 1:
            swapped = relative_error(logits, reference(cfg, weights, ids, wrong_factors=True)[1])
            assert swapped > 0.1, f"{folder.name}/{name}: the other RoPE factors would not show"

        prompt |= {"positions": positions}
        for kind, h, l in (("f32", hidden, logits), ("bf16", hidden16, logits16)):
            tensors[f"{name}.hidden.{kind}"] = torch.from_numpy(h[:, positions])
            tensors[f"{name}.logits.{kind}"] = torch.from_numpy(l[positions])
        print(
            f"{folder.name:14s}{name:12s}n={n:<4d}f32-ref {err:.1e}  eager-{attention} {eager_err:.1e}  "
            f"bf16-f32 {relative_error(logits16, logits):.1e}  logit std {logits.std():.2f}  "
            f"score std {np.mean(stats) if stats else 0:.2f}",
            end="",
        )
        if not causal:
            if "Sequence" in type(f32).__name__:
                prompt["pooled"] = pooled_position(ids, cfg["pad_token_id"])
            print()
            continue

        tokens, gaps, rows = greedy(f32, ids, new_tokens, eos)
        tokens16, gaps16, _ = greedy(bf16, ids, new_tokens, eos)
        assert not random_weights or min(gaps) > 2e-3, f"{folder.name}/{name}: a near tie ({min(gaps):.1e})"
        if min(gaps) > 2e-3 and has_sound_cache(transformers.__version__):
            cached = generate_cached(f32, ids, new_tokens)
            assert cached == tokens, (
                f"{folder.name}/{name}: generate with cache gives {cached}, without {tokens}"
            )
        prompt |= {
            "greedy_f32": {"ids": tokens, "gaps": [float(f"{g:.6g}") for g in gaps]},
            "greedy_bf16": {"ids": tokens16, "gaps": [float(f"{g:.6g}") for g in gaps16]},
        }
        if random_weights:
            tensors[f"{name}.greedy_logits.f32"] = torch.from_numpy(rows)
        same = next((i for i, (a, b) in enumerate(zip(tokens, tokens16)) if a != b), len(tokens))
        print(f"  min gap {min(gaps):.3f}  {len(set(tokens))}/{len(tokens)} distinct, bf16 agrees for {same}")
    return prompts, tensors


def attention_of(version):
    """Returns the attention implementation. Phi-3 had no SDPA in 4.41."""
    return "eager" if version.startswith("4.41.") else "sdpa"


def is_compat(version):
    """Tells whether the window of this version is one position wider.

    4.41 is the last version with the wide window. Later versions had no window until the narrow one.
    """
    return version.startswith("4.41.")


def has_sound_cache(version):
    """Tells whether generate with a cache is right.

    According to its code, transformers 5.3 and later lose the context where long RoPE changes its factors.
    """
    return version == USUAL


@torch.no_grad()
def run_texts(folder):
    """Returns the pipeline's results for LABELLED_TEXTS, in float32, with the built-in model's tokenizer."""
    model, tok = load_model(folder, torch.float32), AutoTokenizer.from_pretrained(DEMO)
    sequence = "Sequence" in type(model).__name__
    texts = []
    for text in LABELLED_TEXTS:
        entry = {"text": text, "ids": tok(text).input_ids}
        if sequence:
            entry["scores"] = {}
            for problem in ("single_label_classification", "multi_label_classification", "regression"):
                model.config.problem_type = problem
                pipe = pipeline("text-classification", model=model, tokenizer=tok, device="cpu")
                entry["scores"][problem] = {x["label"]: x["score"] for x in pipe(text, top_k=None)}
        else:
            pipe = pipeline(
                "token-classification", model=model, tokenizer=tok, ignore_labels=[], device="cpu"
            )
            entry["tokens"] = [
                {"word": x["word"], "label": x["entity"], "score": float(x["score"])} for x in pipe(text)
            ]
        texts.append(entry)
    return texts


def write_json(path, value):
    """Writes indented JSON with each list of plain values on one line, so that people can read the file."""

    def render(v, pad):
        inner = pad + "  "
        if isinstance(v, dict) and v:
            body = ",\n".join(f"{inner}{json.dumps(k)}: {render(x, inner)}" for k, x in v.items())
            return "{\n" + body + "\n" + pad + "}"
        if isinstance(v, list) and any(isinstance(x, (dict, list)) for x in v):
            return "[\n" + ",\n".join(inner + render(x, inner) for x in v) + "\n" + pad + "]"
        return json.dumps(v, ensure_ascii=False)

    path.write_text(render(value, "") + "\n", encoding="utf-8")


def write_golden(folder, header, prompts, tensors):
    header = {"versions": VERSIONS, "attention": attention_of(transformers.__version__)} | header
    write_json(folder / "golden.json", header | {"prompts": prompts})
    save_file(
        {k: v.contiguous() for k, v in tensors.items()},
        folder / "golden.safetensors",
        metadata={"versions": VERSIONS},
    )


def make_random(name, out):
    spec, folder = CHECKPOINTS[name], out / name
    for stale in ("golden.json", "golden.safetensors"):
        (folder / stale).unlink(missing_ok=True)
    cfg = make_checkpoint(folder, spec)
    rng = np.random.Generator(np.random.PCG64(1000 + spec["seed"]))
    vocab = cfg["vocab_size"]
    prompts = []
    for n in spec["prompts"]:
        ids = rng.integers(0, vocab, n).tolist()
        if n >= 5:
            # The first and the last row of the embedding. The last is also pad and eos.
            ids[1], ids[2] = 0, cfg["pad_token_id"]
        prompts.append({"name": f"n{n}", "ids": ids})
    for n, pads in spec.get("pads", ()):  # n ids, followed by padding
        ids = rng.integers(0, cfg["pad_token_id"], n).tolist() + [cfg["pad_token_id"]] * pads
        prompts.append({"name": f"n{n}p{pads}", "ids": ids})
    prompts, tensors = run_prompts(
        folder, cfg, prompts, spec.get("new_tokens", 0), every_position=spec.get("every_position", False)
    )
    header = {"checkpoint": f"testdata/{name}", "seed": spec["seed"]}
    if is_compat(transformers.__version__):
        header["sliding_window_compat"] = True
    if kind_of(folder) is not AutoModelForCausalLM:
        header["texts"] = run_texts(folder)
    write_golden(folder, header, prompts, tensors)


# ----------------------------------------------------------------------------------------- the built-in model

DEMO_TEXTS = {
    "capital": "The capital of Germany is",
    "email": "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.",
}
DEMO_CHAT = [{"role": "user", "content": "What is the capital of France?"}]

TOKENIZER_TEXTS = {
    "prose": [
        *DEMO_TEXTS.values(),
        "Hello, world!",
        "a",
        ".",
        "Zoë's café isn't open; we'll go — perhaps — tomorrow.",
        "Dear Sarah,\n\nI am so sorry about the roses.\n\nYours,\nTom\n",
        "Uncharacteristically antidisestablishmentarian thermodynamics",
    ],
    "space": [
        "",
        " ",
        "  ",
        " " * 16,
        " " * 17,
        "\n",
        "\n\n\n",
        "\t",
        "\r\n",
        " lead",
        "  lead two",
        "trail ",
        "trail   ",
        "in  the   middle",
        "a\n b\n\n  c\t\td",
        "no\u00a0break\u3000wide\u2028line\u0085next",
        "▁a ▁b▁",
    ],
    "number": ["2 + 2 = 4", "3.14159 1,234,567 1e-5 0xFF 2024-07-01", "２０２４ ½ Ⅻ ①"],
    "code": [
        "for i := range 10 {\n\tfmt.Println(i) // ok\n}\n",
        '{"a": [1, null], "b": {"c": "\\n"}}',
        "<b>&amp;</b> $HOME ^_^ \\",
    ],
    "script": [
        "Grüße aus Köln",
        "Привет, мир",
        "你好，世界",
        "こんにちは",
        "안녕하세요",
        "مرحبا",
        "שלום",
        "नमस्ते",
        "สวัสดี",
        "𝔘𝔫𝔦 𐍈",
    ],
    "emoji": ["🙂", "I ❤ Go 🐹!", "👩\u200d🚀👍🏽🇩🇪", "日本🙂"],
    "combining": ["e\u0301 vs \u00e9", "\u0301first"],
    "bytes": [
        "\x00\x1b[0m\x7f",
        "\ufeffBOM",
        "\ufffd\ufffd",
        "\u200b\u00ad",
        "\U0010ffff\ue000",
        "<0x0A> is text, <0xFF> too",
    ],
    "run": ["aaaaaaaaaaaaaaaaaaaaaaaa", "--------========", "hahahahaha loooong"],
    "special": [
        "<|user|>\nHi<|end|>\n<|assistant|>\n",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nWhat is 2+2?<|end|>\n<|assistant|>\n",
        "<|user|>x",
        "<|user|> \n\t x",
        "text<|end|>text",
        "text <|end|> text",
        "<|end|><|end|><|assistant|>",
        "<|endoftext|> after",
        "<s>Hello</s> x",
        "</s>\n\nx",
        "a<|placeholder1|> b",
        "<unk><s></s>",
        "<|User|> <|user | <|user",
        "<|<|user|>|>",
        "\n<|user|>\n",
    ],
    "long": ["The roses are red and the lawn is gone. " * 20, "x" * 300],
}


def stream_pieces(tok, ids):
    """Returns (pieces, flush, decoded): the text that each id adds, the rest, and the whole text.

    A piece is empty as long as the bytes at the end are not a whole character. flush is not empty if the ids
    stop in the middle of a character.
    """
    shown, pieces, run = "", [], b""
    for i, token in enumerate(tok.id_to_token(t) for t in ids):
        byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        run = run + bytes([int(token[3:5], 16)]) if byte else b""
        try:
            run.decode("utf-8")
        except UnicodeDecodeError:
            pieces.append("")
            continue
        text = tok.decode(ids[: i + 1], skip_special_tokens=False)
        assert text.startswith(shown)
        pieces.append(text[len(shown) :])
        shown = text
    decoded = tok.decode(ids, skip_special_tokens=False)
    return pieces, decoded[len(shown) :], decoded


def tokenizer_goldens(tok, hf, label):
    """Returns the entries of tokenizer_golden.json and tokenizer_stream_golden.json."""
    about = f"huggingface tokenizers {tokenizers.__version__} (Python)"
    golden, stream = [], []
    for with_special in (False, True):
        for category, texts in TOKENIZER_TEXTS.items():
            if with_special and category not in ("prose", "special"):
                continue
            for text in texts:
                # With special tokens, the class in transformers can add <s>, as tokenizer_config.json says.
                ids = hf(text).input_ids if with_special else tok.encode(text, add_special_tokens=False).ids
                assert with_special or hf(text, add_special_tokens=False).input_ids == ids
                golden.append(
                    {
                        "tokenizer": label,
                        "category": category,
                        "text": text,
                        "ids": ids,
                        "add_special_tokens": with_special,
                        "decoded": tok.decode(ids, skip_special_tokens=False),
                        "decoded_skip_special": tok.decode(ids, skip_special_tokens=True),
                        "reference": about,
                    }
                )
                if not with_special:
                    pieces, flush, decoded = stream_pieces(tok, ids)
                    stream.append(
                        {
                            "tokenizer": label,
                            "text": text,
                            "ids": ids,
                            "pieces": pieces,
                            "flush": flush,
                            "decoded": decoded,
                            "reference": about,
                        }
                    )
    return golden, stream


def write_lines(path, entries):
    body = ",\n".join("  " + json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in entries)
    path.write_text("[\n" + body + "\n]\n", encoding="utf-8")


def make_demo(checkpoint, out, new_tokens=50):
    folder, label = out / "demo", "internal/demo/checkpoint/tokenizer.json"
    folder.mkdir(parents=True, exist_ok=True)
    cfg = json.loads((checkpoint / "config.json").read_text())
    generation = checkpoint / "generation_config.json"
    eos = (json.loads(generation.read_text()) if generation.exists() else cfg)["eos_token_id"]
    eos = eos if isinstance(eos, list) else [eos]
    tok, hf = (
        tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json")),
        AutoTokenizer.from_pretrained(checkpoint),
    )

    golden, stream = tokenizer_goldens(tok, hf, label)
    write_lines(folder / "tokenizer_golden.json", golden)
    write_lines(folder / "tokenizer_stream_golden.json", stream)

    rendered = hf.apply_chat_template(DEMO_CHAT, tokenize=False, add_generation_prompt=True)
    prompts = [{"name": name, "text": text, "ids": hf(text).input_ids} for name, text in DEMO_TEXTS.items()]
    prompts.append(
        {
            "name": "chat",
            "messages": DEMO_CHAT,
            "text": rendered,
            "ids": hf(rendered, add_special_tokens=False).input_ids,
        }
    )
    for p in prompts:
        p["tokens"] = hf.convert_ids_to_tokens(p["ids"])
        p["pieces"] = stream_pieces(tok, p["ids"])[0]
    prompts, tensors = run_prompts(checkpoint, cfg, prompts, new_tokens, eos, random_weights=False)
    for p in prompts:
        before = tok.decode(p["ids"], skip_special_tokens=True)
        for run in (p["greedy_f32"], p["greedy_bf16"]):
            run["text"] = tok.decode(p["ids"] + run["ids"], skip_special_tokens=True)[len(before) :]
            run["stop"] = "eos" if run["ids"][-1] in eos else "length"
        print(f"  {p['text']!r} -> {p['greedy_f32']['text']!r} ({p['greedy_f32']['stop']})")

    # Streams that end inside a character: flush must return the rest.
    cut = []
    for text in ("ok 🙂", "日本🙂"):
        ids = tok.encode(text, add_special_tokens=False).ids[:-1]
        pieces, flush, decoded = stream_pieces(tok, ids)
        cut.append({"ids": ids, "pieces": pieces, "flush": flush, "decoded": decoded})
    write_golden(
        folder,
        {"checkpoint": "internal/demo/checkpoint", "eos_token_ids": eos, "cut_streams": cut},
        prompts,
        tensors,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"checkpoints to make: {', '.join(CHECKPOINTS)} (default: all)",
    )
    parser.add_argument(
        "--demo", metavar="DIR", type=Path, help="make demo/ from this checkpoint directory instead"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=HERE, help="where to write (default: this folder)"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - set(CHECKPOINTS):
        parser.error(f"no such checkpoint: {', '.join(sorted(unknown))}")
    torch.manual_seed(0)
    torch.set_num_threads(1)  # one order of summation, so that each run gives the same bytes
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if args.demo:
        make_demo(args.demo, args.out)
        return
    version = transformers.__version__
    for name in args.names or CHECKPOINTS:
        if CHECKPOINTS[name].get("transformers", USUAL) == version:
            make_random(name, args.out)
        elif args.names:
            parser.error(
                f"{name} is made with transformers {CHECKPOINTS[name].get('transformers', USUAL)}, "
                f"not {version}"
            )


if __name__ == "__main__":
    main()
