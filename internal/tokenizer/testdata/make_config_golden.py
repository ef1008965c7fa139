"""Writes config_golden.json: how transformers' AutoTokenizer reads a tokenizer's configuration files.

    python make_config_golden.py [folder with Phi-3's tokenizer.model and phi-4's vocab.json]

The file was made with transformers 4.57.6, tokenizers 0.22.2, sentencepiece 0.2.
"""

import json, pathlib, shutil, sys, tempfile, warnings
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from transformers import AutoTokenizer

here = pathlib.Path(__file__).parent
spm = json.loads((here / "spm.json").read_text())
level = json.loads((here / "cl100k.json").read_text())
TEXTS = [
    "The capital of <|end|>  \n Germany is",
    " a<|end|><|end|> b</s> c <|left|> d",
    "two words word wordy",
    "NEWTOK <NEW> x<NEW>  y\nz",
    "",
    "  lead",
    "<|end|>lead",
    "▁a ▁ b",
    "a\n\n  b \u3000c",
    "日本 🙂 it's 1234 It'S",
    "<s>x<unk>",
]


def token(content, **k):
    return dict(
        dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True),
        **k,
    )


def meta(scheme, **k):
    return dict(
        normalizer=None,
        pre_tokenizer=dict(dict(type="Metaspace", replacement="▁", prepend_scheme=scheme, split=False), **k),
    )


Llama = dict(tokenizer_class="LlamaTokenizer")
Fast = dict(tokenizer_class="PreTrainedTokenizerFast")
CASES = {
    "bare": ({}, {}),
    "no class, phi3": ({"config.json": dict(model_type="phi3")}, {}),
    "class of config.json": (
        {"config.json": dict(model_type="phi3", tokenizer_class="PreTrainedTokenizerFast")},
        {},
    ),
    "llama": ({"tokenizer_config.json": Llama}, {}),
    "llama bos null": ({"tokenizer_config.json": dict(Llama, add_bos_token=None)}, {}),
    "llama eos": (
        {"tokenizer_config.json": dict(Llama, add_bos_token=False, add_eos_token=True, eos_token="<|end|>")},
        {},
    ),
    "flags": ({"tokenizer_config.json": dict(Fast, added_tokens_decoder={"640": token("<|end|>")})}, {}),
    "flags, single": (
        {
            "tokenizer_config.json": dict(
                Fast, added_tokens_decoder={"640": token("<|end|>", single_word=True, lstrip=True)}
            )
        },
        {},
    ),
    "not special": (
        {"tokenizer_config.json": dict(Fast, added_tokens_decoder={"640": token("<|end|>", special=False)})},
        {},
    ),
    "special now": ({"tokenizer_config.json": dict(Fast, added_tokens_decoder={"645": token("word")})}, {}),
    "normalized now": (
        {
            "tokenizer_config.json": dict(
                Fast, added_tokens_decoder={"646": token("two words", normalized=True, special=False)}
            )
        },
        {},
    ),
    "new": ({"tokenizer_config.json": dict(Fast, added_tokens_decoder={"700": token("<NEW>")})}, {}),
    "new, normalized": (
        {
            "tokenizer_config.json": dict(
                Fast,
                added_tokens_decoder={
                    "700": token("<NEW>", normalized=True, special=False),
                    "701": token("NEWTOK", normalized=True, special=False),
                },
            )
        },
        {},
    ),
    "new, few flags": (
        {
            "tokenizer_config.json": dict(
                Fast,
                added_tokens_decoder={
                    "649": dict(content="<NEW>"),
                    "650": dict(content="NEWTOK", special=True),
                },
            )
        },
        {},
    ),
    "of the vocabulary": (
        {
            "tokenizer_config.json": dict(
                Fast, added_tokens_decoder={"700": token("▁is"), "701": token("the", special=False)}
            )
        },
        {},
    ),
    "named": ({"tokenizer_config.json": dict(Fast, eos_token="</s>", bos_token="<NEW>")}, {}),
    "named, described": (
        {
            "tokenizer_config.json": dict(
                Fast,
                eos_token="word",
                added_tokens_decoder={"645": token("word", special=False, single_word=True)},
            )
        },
        {},
    ),
    "named, not described": (
        {
            "tokenizer_config.json": dict(
                Fast, eos_token="word", added_tokens_decoder={"640": token("<|end|>", rstrip=True)}
            )
        },
        {},
    ),
    "named object": (
        {
            "tokenizer_config.json": dict(
                Fast, eos_token=dict(token("<NEW>", rstrip=True), __type="AddedToken")
            )
        },
        {},
    ),
    "map wins": (
        {
            "tokenizer_config.json": dict(Llama, bos_token="<s>"),
            "special_tokens_map.json": dict(
                bos_token="<unk>",
                eos_token=dict(
                    content="<|end|>", rstrip=True, lstrip=False, single_word=False, normalized=False
                ),
            ),
        },
        {},
    ),
    "map is not read": (
        {
            "tokenizer_config.json": dict(
                Llama, bos_token="<s>", added_tokens_decoder={"640": token("<|end|>", rstrip=True)}
            ),
            "special_tokens_map.json": dict(bos_token="<unk>", additional_special_tokens=["<NEW>"]),
        },
        {},
    ),
    "map, additional": (
        {
            "tokenizer_config.json": Fast,
            "special_tokens_map.json": dict(
                additional_special_tokens=["<NEW>", token("NEWTOK", rstrip=True)]
            ),
        },
        {},
    ),
    "additional": ({"tokenizer_config.json": dict(Fast, additional_special_tokens=["<NEW>", "word"])}, {}),
    "extra": (
        {"tokenizer_config.json": dict(Fast, extra_special_tokens=dict(image_token="<NEW>", other="word"))},
        {},
    ),
    "added_tokens.json": (
        {"tokenizer_config.json": Fast, "added_tokens.json": {"<NEW>": 650, "NEWTOK": 649, "word": 645}},
        {},
    ),
    "added_tokens.json, special": (
        {
            "tokenizer_config.json": dict(Fast, eos_token="<NEW>"),
            "added_tokens.json": {"<NEW>": 650, "NEWTOK": 649},
        },
        {},
    ),
    "added_tokens.json is not read": (
        {
            "tokenizer_config.json": dict(Fast, added_tokens_decoder={"640": token("<|end|>")}),
            "added_tokens.json": {"<NEW>": 650},
        },
        {},
    ),
    "split": ({"tokenizer_config.json": dict(Fast, split_special_tokens=True)}, {}),
    "prefix": ({"tokenizer_config.json": dict(Fast, add_prefix_space=True)}, {}),
    "metaspace always": ({}, meta("always")),
    "metaspace first": ({}, meta("first")),
    "metaspace never": ({}, meta("never")),
    "metaspace split": ({}, meta("first", split=True)),
    "metaspace split always": ({}, meta("always", split=True)),
    "metaspace and a normalized token": (
        {
            "tokenizer_config.json": dict(
                Fast, added_tokens_decoder={"700": token("<NEW>", normalized=True, special=False)}
            )
        },
        meta("first"),
    ),
    "no strip": (
        {},
        dict(meta("never"), decoder=dict(type="Sequence", decoders=spm["decoder"]["decoders"][:3])),
    ),
    "only replace": ({}, dict(normalizer=dict(type="Replace", pattern=dict(String=" "), content="▁"))),
    "bytelevel alone": (
        {"tokenizer_config.json": Fast},
        dict(
            base="cl100k",
            pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
        ),
    ),
    "bytelevel alone, true": (
        {"tokenizer_config.json": Fast},
        dict(
            base="cl100k",
            pre_tokenizer=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        ),
    ),
    "bytelevel alone, prefix": (
        {"tokenizer_config.json": dict(Fast, add_prefix_space=True)},
        dict(
            base="cl100k",
            pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
        ),
    ),
    "bytelevel without regex": (
        {"tokenizer_config.json": Fast},
        dict(
            base="cl100k",
            pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False),
        ),
    ),
    "decoder null": ({}, dict(decoder=None)),
    "decoder metaspace": ({}, dict(decoder=dict(type="Metaspace", replacement="▁"))),
    "decoder metaspace always": (
        {},
        dict(
            meta("always"),
            decoder=dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=False),
        ),
    ),
    "decoder metaspace first": (
        {},
        dict(meta("first"), decoder=dict(type="Metaspace", replacement="▁", prepend_scheme="first")),
    ),
    "decoder metaspace never": (
        {},
        dict(meta("never"), decoder=dict(type="Metaspace", replacement="▁", prepend_scheme="never")),
    ),
    "decoder metaspace, old": (
        {},
        dict(decoder=dict(type="Metaspace", replacement="▁", str_rep="▁", add_prefix_space=True)),
    ),
    "decoder metaspace in a sequence": (
        {},
        dict(
            decoder=dict(
                type="Sequence", decoders=[dict(type="Metaspace", replacement="▁", prepend_scheme="first")]
            )
        ),
    ),
    "decoder fuse": ({}, dict(decoder=dict(type="Fuse"))),
    "decoder byte fallback": ({}, dict(decoder=dict(type="ByteFallback"))),
    "decoder byte fallback, fuse": (
        {},
        dict(decoder=dict(type="Sequence", decoders=[dict(type="ByteFallback"), dict(type="Fuse")])),
    ),
    "decoder replace, fuse, strip": (
        {},
        dict(decoder=dict(type="Sequence", decoders=[spm["decoder"]["decoders"][i] for i in (0, 2, 3)])),
    ),
    "decoder empty sequence": ({}, dict(decoder=dict(type="Sequence", decoders=[]))),
    "empty content": (
        {"tokenizer_config.json": dict(Fast, added_tokens_decoder={"700": token(""), "701": token("<NEW>")})},
        {},
    ),
    "gpt2": (
        {
            "tokenizer_config.json": dict(
                tokenizer_class="GPT2Tokenizer",
                added_tokens_decoder={"700": token("<NEW>", rstrip=True, lstrip=True)},
            )
        },
        dict(base="cl100k"),
    ),
}
DATA = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
P3, P4 = "Phi-3-mini-4k-instruct", "phi-4"
REAL = {  # (folder, files of a real tokenizer, changes of its tokenizer_config.json)
    "model": (
        P3,
        ["tokenizer.model", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"],
        {},
    ),
    "model, legacy": (P3, ["tokenizer.model", "tokenizer_config.json"], dict(legacy=True)),
    "model, no prefix": (P3, ["tokenizer.model", "tokenizer_config.json"], dict(add_prefix_space=False)),
    "model, legacy, no prefix": (
        P3,
        ["tokenizer.model", "tokenizer_config.json"],
        dict(add_prefix_space=False, legacy=True),
    ),
    "model, added_tokens.json": (
        P3,
        ["tokenizer.model", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"],
        dict(added_tokens_decoder=None),
    ),
    "model before json": (
        P3,
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"],
        dict(add_prefix_space=True),
    ),
    "from slow": (
        P3,
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"],
        dict(from_slow=True, legacy=True),
    ),
    "from slow, new": (
        P3,
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"],
        dict(from_slow=True, legacy=False),
    ),
    "from slow, prefix": (
        P3,
        ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"],
        dict(from_slow=True, add_prefix_space=True),
    ),
    "json": (P3, ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"], {}),
    "vocab and merges": (P4, ["vocab.json", "merges.txt", "tokenizer_config.json"], {}),
    "vocab and merges, bos": (
        P4,
        ["vocab.json", "merges.txt", "tokenizer_config.json"],
        dict(add_bos_token=True),
    ),
    "vocab and merges, codegen": (
        P4,
        ["vocab.json", "merges.txt", "tokenizer_config.json"],
        dict(tokenizer_class="CodeGenTokenizer"),
    ),
}
REALTEXTS = TEXTS + [
    "<|user|>\nHello<|end|>\n<|assistant|>\n",
    "x<|endoftext|> y",
    "<|im_start|>user<|im_sep|>Hi <|im_end|> a",
    "def f(x):\n\treturn   x\t\n",
    "    indented\n\n\nHELLO WorldLy",
]


def cases_of(path, texts):
    t = AutoTokenizer.from_pretrained(path)
    name = lambda x: x if x is None else str(x)
    out = dict(bos=name(t.bos_token), eos=name(t.eos_token), size=max(t.get_vocab().values()) + 1, texts=[])
    for s in texts:
        ids = t.encode(s)
        out["texts"].append(
            dict(
                text=s,
                ids=ids,
                plain=t.encode(s, add_special_tokens=False),
                literal=t.encode(s, add_special_tokens=False, split_special_tokens=True),
                decoded=t.decode(ids, clean_up_tokenization_spaces=False),
                skipped=t.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            )
        )
    return out


result = []
for name, (files, patch) in CASES.items():
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        patch = dict(patch)
        base = patch.pop("base", "spm")
        (d / "tokenizer.json").write_text(json.dumps(dict(spm if base == "spm" else level, **patch)))
        files = dict(files)
        if not ({"tokenizer_config.json", "config.json"} & set(files)):
            files["tokenizer_config.json"] = Fast
        for f, j in files.items():
            (d / f).write_text(json.dumps(j))
        try:
            out = cases_of(d, TEXTS)
        except Exception as e:
            print(name, "ERROR", e)
            continue
        result.append(dict(name=name, base=base, patch=patch, files=files, **out))
if DATA:
    for name, (folder, files, change) in REAL.items():
        with tempfile.TemporaryDirectory() as d:
            d = pathlib.Path(d)
            for f in files:
                shutil.copy(DATA / folder / f, d / f)
            if change:
                j = json.loads((d / "tokenizer_config.json").read_text())
                j.update(change)
                j = {k: v for k, v in j.items() if not (k == "added_tokens_decoder" and v is None)}
                (d / "tokenizer_config.json").write_text(json.dumps(j))
            try:
                out = cases_of(d, REALTEXTS)
            except Exception as e:
                print(name, "ERROR", e)
                continue
            result.append(dict(name=name, folder=folder, copy=files, change=change, **out))
target = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here / "config_golden.json"
target.write_text("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in result) + "\n]\n")
