#!/usr/bin/env python3
"""Writes configs/spellings.json: how transformers reads variants of a Phi-3's config.json.

    venv/bin/python testdata/make_configs.py

All variants use the same weights, configs/model.safetensors. Run the script once with transformers 4.57.6 and
once with 5.15.0 (see README.md). Each run adds the results of its version: the logits of some positions in
float32, or the error.
"""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
FOLDER = Path(__file__).resolve().parent / "configs"
VERSION = transformers.__version__
SHORT, LONG = [1 + j / 8 for j in range(8)], [1.5 + 3 * j for j in range(8)]
IDS = [(7 * i + 3) % 41 for i in range(40)]
POSITIONS = [7, 39]  # before and after position 16, where long RoPE changes its factors

BASE = dict(
    architectures=["Phi3ForCausalLM"],
    model_type="phi3",
    hidden_act="silu",
    vocab_size=41,
    hidden_size=32,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=64,
    original_max_position_embeddings=16,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    rope_scaling=None,
    partial_rotary_factor=1.0,
    sliding_window=None,
    attention_bias=False,
    tie_word_embeddings=False,
    torch_dtype="float32",
    bos_token_id=1,
    eos_token_id=40,
    pad_token_id=0,
    attention_dropout=0.0,
    embd_pdrop=0.0,
    resid_pdrop=0.0,
)
ABSENT = "absent"  # the value of a key that is left out
LR = dict(type="longrope", short_factor=SHORT, long_factor=LONG)
RP = dict(rope_type="longrope", short_factor=SHORT, long_factor=LONG)


def no(*keys):
    return dict.fromkeys(keys, ABSENT)


SPELLINGS = {
    "base": {},
    "attention_bias true": dict(attention_bias=True),
    "attention_bias null": dict(attention_bias=None),
    "mlp_bias true": dict(mlp_bias=True),
    "lm_head_bias true": dict(lm_head_bias=True),
    "qk_layernorm true": dict(qk_layernorm=True),
    "kv heads absent": no("num_key_value_heads"),
    "kv heads null": dict(num_key_value_heads=None),
    "head_dim given": dict(head_dim=16),
    "head_dim null": dict(head_dim=None),
    "window 0": dict(sliding_window=0),
    "window -1": dict(sliding_window=-1),
    "window 1": dict(sliding_window=1),
    "window 5": dict(sliding_window=5),
    "window beyond the text": dict(sliding_window=2047),
    "window absent": no("sliding_window"),
    "window 5, use_sliding_window false": dict(sliding_window=5, use_sliding_window=False),
    "window 5, layer_types full": dict(sliding_window=5, layer_types=["full_attention"] * 2),
    "window 5, layer_types sliding": dict(sliding_window=5, layer_types=["sliding_attention"] * 2),
    "window 5, layer_types mixed": dict(
        sliding_window=5, layer_types=["sliding_attention", "full_attention"]
    ),
    "window 5, max_window_layers": dict(sliding_window=5, max_window_layers=1),
    "window a float": dict(sliding_window=5.0),
    "eps 0": dict(rms_norm_eps=0),
    "eps 0.0": dict(rms_norm_eps=0.0),
    "eps 0.5": dict(rms_norm_eps=0.5),
    "eps 2": dict(rms_norm_eps=2.0),
    "eps negative": dict(rms_norm_eps=-1e-5),
    "eps absent": no("rms_norm_eps"),
    "eps null": dict(rms_norm_eps=None),
    "layer_norm_eps beside": dict(layer_norm_eps=0.5),
    "theta absent": no("rope_theta"),
    "theta an integer": dict(rope_theta=20000),
    "theta null": dict(rope_theta=None),
    "theta 1": dict(rope_theta=1.0),
    "theta 0.5": dict(rope_theta=0.5),
    "partial absent": no("partial_rotary_factor"),
    "partial null": dict(partial_rotary_factor=None),
    "partial 1, an integer": dict(partial_rotary_factor=1),
    "partial 0.5": dict(partial_rotary_factor=0.5),
    "partial 0.75": dict(partial_rotary_factor=0.75),
    "partial odd: 7 of 16": dict(partial_rotary_factor=0.45),
    "partial odd: 15 of 16": dict(partial_rotary_factor=0.95),
    "partial odd: 1 of 16": dict(partial_rotary_factor=0.1),
    "partial 0": dict(partial_rotary_factor=0.0),
    "partial none of 16": dict(partial_rotary_factor=0.01),
    "partial 1.5": dict(partial_rotary_factor=1.5),
    "rotary_dim beside": dict(rotary_dim=8),
    "rope_scaling longrope": dict(rope_scaling=LR),
    "rope_scaling su": dict(rope_scaling=LR | dict(type="su")),
    "rope_scaling yarn": dict(rope_scaling=LR | dict(type="yarn")),
    "rope_scaling by rope_type": dict(rope_scaling=RP),
    "rope_scaling by rope_type su": dict(rope_scaling=RP | dict(rope_type="su")),
    "rope_scaling by both names": dict(rope_scaling=LR | dict(rope_type="longrope")),
    "rope_scaling empty": dict(rope_scaling={}),
    "rope_scaling default": dict(rope_scaling=dict(type="default")),
    "rope_scaling rope_type default": dict(rope_scaling=dict(rope_type="default")),
    "rope_scaling default with theta": dict(rope_scaling=dict(rope_type="default", rope_theta=500.0)),
    "rope_scaling linear": dict(rope_scaling=dict(type="linear", factor=2.0)),
    "rope_scaling dynamic": dict(rope_scaling=dict(type="dynamic", factor=2.0)),
    "rope_scaling with factor": dict(rope_scaling=LR | dict(factor=8.0)),
    "rope_scaling with attention_factor": dict(rope_scaling=LR | dict(attention_factor=1.3)),
    "rope_scaling with original": dict(rope_scaling=LR | dict(original_max_position_embeddings=32)),
    "rope_scaling with original, none beside": dict(
        rope_scaling=LR | dict(original_max_position_embeddings=16)
    )
    | no("original_max_position_embeddings"),
    "rope_scaling without original": dict(rope_scaling=LR) | no("original_max_position_embeddings"),
    "rope_scaling, original null": dict(rope_scaling=LR, original_max_position_embeddings=None),
    "rope_scaling, original is the context": dict(rope_scaling=LR, original_max_position_embeddings=64),
    "rope_scaling, original beyond the context": dict(rope_scaling=LR, original_max_position_embeddings=128),
    "rope_scaling without long_factor": dict(rope_scaling=dict(type="longrope", short_factor=SHORT)),
    "rope_scaling, odd partial": dict(
        partial_rotary_factor=0.95,
        rope_scaling=dict(type="longrope", short_factor=SHORT[:7], long_factor=LONG[:7]),
    ),
    "rope_scaling, odd partial, one factor more": dict(partial_rotary_factor=0.95, rope_scaling=LR),
    "rope_scaling with mscale": dict(rope_scaling=LR | dict(short_mscale=1.0, long_mscale=1.1)),
    "rope_parameters longrope": dict(rope_parameters=RP | dict(rope_theta=10000.0))
    | no("rope_scaling", "rope_theta"),
    "rope_parameters by type": dict(rope_parameters=LR) | no("rope_scaling"),
    "rope_parameters su": dict(rope_parameters=RP | dict(rope_type="su")) | no("rope_scaling"),
    "rope_parameters, theta inside only": dict(rope_parameters=dict(rope_type="default", rope_theta=500.0))
    | no("rope_scaling", "rope_theta"),
    "rope_parameters, theta twice": dict(rope_parameters=dict(rope_type="default", rope_theta=500.0))
    | no("rope_scaling"),
    "rope_parameters, theta inside, null beside": dict(
        rope_parameters=dict(rope_type="default", rope_theta=500.0), rope_theta=None
    )
    | no("rope_scaling"),
    "rope_parameters, theta inside null": dict(rope_parameters=dict(rope_type="default", rope_theta=None))
    | no("rope_scaling"),
    "rope_parameters, partial inside only": dict(
        rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5)
    )
    | no("rope_scaling", "partial_rotary_factor"),
    "rope_parameters, partial twice": dict(
        partial_rotary_factor=0.75,
        rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5),
    )
    | no("rope_scaling"),
    "rope_parameters, original inside only": dict(
        rope_parameters=RP | dict(original_max_position_embeddings=16)
    )
    | no("rope_scaling", "original_max_position_embeddings"),
    "rope_parameters, original twice": dict(rope_parameters=RP | dict(original_max_position_embeddings=32))
    | no("rope_scaling"),
    "rope_parameters with factor": dict(rope_parameters=RP | dict(factor=8.0)) | no("rope_scaling"),
    "rope_parameters with factor below 1": dict(rope_parameters=RP | dict(factor=0.5)) | no("rope_scaling"),
    "rope_parameters with attention_factor": dict(rope_parameters=RP | dict(attention_factor=1.3))
    | no("rope_scaling"),
    "rope_parameters null": dict(rope_parameters=None) | no("rope_scaling"),
    "rope_parameters empty": dict(rope_parameters={}) | no("rope_scaling"),
    "rope_parameters beside a rope_scaling of null": dict(rope_parameters=RP),
    "rope_parameters beside rope_scaling": dict(
        rope_scaling=LR, rope_parameters=dict(rope_type="default", rope_theta=500.0)
    ),
    "rope_parameters beside an empty rope_scaling": dict(rope_scaling={}, rope_parameters=RP),
    "rope_parameters by layer type": dict(
        rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=500.0))
    )
    | no("rope_scaling"),
    "dtype new": dict(dtype="float32") | no("torch_dtype"),
    "dtype both": dict(dtype="float32", torch_dtype="bfloat16"),
    "dtype with torch.": dict(torch_dtype="torch.float32"),
    "dtype null": dict(torch_dtype=None),
    "dtype absent": no("torch_dtype"),
    "eos a list": dict(eos_token_id=[39, 40]),
    "eos null": dict(eos_token_id=None),
    "eos absent": no("eos_token_id"),
    "bos and pad null": dict(bos_token_id=None, pad_token_id=None),
    "tied null": dict(tie_word_embeddings=None),
    "hidden_act swish": dict(hidden_act="swish"),
    "hidden_act gelu": dict(hidden_act="gelu"),
    "hidden_act absent": no("hidden_act"),
    "hidden_act null": dict(hidden_act=None),
    "hidden_size null": dict(hidden_size=None),
    "layers null": dict(num_hidden_layers=None),
    "heads null": dict(num_attention_heads=None),
    "vocab null": dict(vocab_size=None),
    "context null": dict(max_position_embeddings=None),
    "context absent": no("max_position_embeddings"),
    "hidden_size a float": dict(hidden_size=32.0),
    "hidden_size a string": dict(hidden_size="32"),
    "context as text": dict(max_position_embeddings="64"),
    "context in scientific notation": dict(max_position_embeddings=64.0),
    "embedding multipliers of other families": dict(
        embedding_multiplier=2.0, logits_scaling=3.0, residual_multiplier=0.5
    ),
    "final_logit_softcapping of another family": dict(final_logit_softcapping=3.0),
    "attention_dropout": dict(attention_dropout=0.5, resid_pdrop=0.5, embd_pdrop=0.5),
    "model_type absent": no("model_type"),
    "architectures absent": no("architectures"),
    "architectures Peft": dict(architectures=["PeftModelForCausalLM"]),
    "pretraining_tp and use_cache": dict(pretraining_tp=2, use_cache=False),
    "logit_scale": dict(logit_scale=0.5),
}


def shapes():
    out = {"model.embed_tokens.weight": (41, 32)}
    for n in range(2):
        p = f"model.layers.{n}."
        out |= {
            p + "input_layernorm.weight": (32,),
            p + "self_attn.qkv_proj.weight": (96, 32),
            p + "self_attn.o_proj.weight": (32, 32),
            p + "post_attention_layernorm.weight": (32,),
            p + "mlp.gate_up_proj.weight": (48, 32),
            p + "mlp.down_proj.weight": (32, 24),
        }
    return out | {"model.norm.weight": (32,), "lm_head.weight": (41, 32)}


def weights():
    rng = np.random.Generator(np.random.PCG64(21))
    out = {}
    for name, shape in shapes().items():
        w = (
            1 + 0.3 * rng.uniform(-1, 1, shape)
            if len(shape) == 1
            else rng.standard_normal(shape) / np.sqrt(shape[1]) * 1.5
        )
        out[name] = torch.from_numpy(w.astype(np.float32))
    return out


def config_of(change):
    config = copy.deepcopy(BASE) | change
    return {k: v for k, v in config.items() if v is not ABSENT}


@torch.no_grad()
def result(change, tensors):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config_of(change)))
        save_file(tensors, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
            if info["missing_keys"] or info["mismatched_keys"]:
                return {"error": f"missing {sorted(info['missing_keys'])}"}
            logits = model.eval()(torch.tensor([IDS]), use_cache=False).logits[0, POSITIONS]
            short = model(torch.tensor([IDS[: POSITIONS[0] + 1]]), use_cache=False).logits[0, -1]
        except Exception as e:  # all errors that a user can see
            return {"error": f"{type(e).__name__}: {e}"[:200].split("\n")[0]}
        if not torch.isfinite(logits).all():
            return {"error": "logits are not finite"}
        return {"logits": [[round(float(x), 5) for x in row] for row in [short, *logits]]}


def main():
    FOLDER.mkdir(exist_ok=True)
    tensors = weights()
    save_file(tensors, FOLDER / "model.safetensors", metadata={"format": "pt"})
    file = FOLDER / "spellings.json"
    old = json.loads(file.read_text())["spellings"] if file.exists() else {}
    spellings = {}
    for name, change in SPELLINGS.items():
        results = old.get(name, {}).get("results", {}) | {VERSION: result(change, tensors)}
        spellings[name] = {"config": config_of(change), "results": dict(sorted(results.items()))}
        print(f"{name:45} {results[VERSION].get('error', 'runs')}"[:150])
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in spellings.items())
    file.write_text(
        f'{{"ids": {IDS}, "positions": {POSITIONS}, "torch": "{torch.__version__.split("+")[0]}", '
        f'"spellings": {{\n{lines}\n}}}}\n'
    )


main()
