#!/usr/bin/env python3
"""Makes the files in testdata/llamacpp: what llama.cpp's converter writes for small Phi-3 checkpoints.

    python make_llamacpp.py LLAMA_CPP [PHI3_DATA]

LLAMA_CPP is a checkout of llama.cpp. The script needs its Python packages (torch, transformers, sentencepiece,
safetensors); the Go tests do not need the script.

For each checkpoint in the repository's testdata whose shape llama.cpp has, NAME-TYPE.gguf is the converter's file
up to its data, and sha256.json has the hash of the whole file: the test puts the data there from the safetensors.

For each published config.json in PHI3_DATA, config-NAME.gguf has the metadata that the converter makes of it, and
the RoPE factors. Its embedding table has the right number of rows of one number each, which the test appends.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import sentencepiece

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent.parent
OUT = HERE / "llamacpp"
CHECKPOINTS = {"mini": ["bf16", "f32"], "longrope": ["bf16"], "partial": ["bf16"]}


def tokenizer_model(folder):
    """A SentencePiece model with 290 pieces: the converter wants one."""
    text = folder / "text"
    words = (REPOSITORY / "testdata" / "README.md").read_text().lower()
    text.write_text("".join(c for c in words if c in "abcdefghijklmnopqrstuvw \n"))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=290, model_type="bpe",
        byte_fallback=True, character_coverage=1.0, num_threads=1, minloglevel=2)
    text.unlink()
    (folder / "tokenizer.vocab").unlink()


def data_start(path, gguf):
    return gguf.GGUFReader(str(path)).data_offset


def main():
    llama = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(llama))
    sys.path.insert(0, str(llama / "gguf-py"))
    import gguf
    OUT.mkdir(exist_ok=True)
    hashes = {}
    for name, types in CHECKPOINTS.items():
        with tempfile.TemporaryDirectory() as work:
            model = Path(work) / name
            model.mkdir()
            for f in (REPOSITORY / "testdata" / name).iterdir():
                if not f.name.startswith("golden"):
                    shutil.copy(f, model)
            tokenizer_model(model)
            for kind in types:
                whole = Path(work) / "whole.gguf"
                subprocess.run([sys.executable, str(llama / "convert_hf_to_gguf.py"), str(model), "--outfile",
                                str(whole), "--outtype", kind], check=True)
                data = whole.read_bytes()
                hashes[f"{name}-{kind}"] = hashlib.sha256(data).hexdigest()
                (OUT / f"{name}-{kind}.gguf").write_bytes(data[:data_start(whole, gguf)])
    (OUT / "sha256.json").write_text(json.dumps(hashes, indent=1) + "\n")
    if len(sys.argv) > 2:
        for config in sorted(Path(sys.argv[2]).glob("*/config*.json")):
            published(config, gguf)


def published(config, gguf):
    """Runs the converter on a config.json without weights."""
    import torch
    from safetensors.torch import save_file
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType
    with tempfile.TemporaryDirectory() as work:
        model = Path(work)
        shutil.copy(config, model / "config.json")
        for f in config.parent.iterdir():
            if f.name in ("generation_config.json", "tokenizer_config.json"):
                shutil.copy(f, model)
        hparams = json.loads(config.read_text())
        tensors = {"model.embed_tokens.weight": torch.zeros(hparams["vocab_size"], 1)}
        if not hparams.get("tie_word_embeddings"):
            tensors["lm_head.weight"] = torch.zeros(1, 1)
        save_file(tensors, model / "model.safetensors", {"format": "pt"})
        whole = model / "whole.gguf"
        cls = get_model_class("Phi3ForCausalLM")

        class WithoutVocabulary(cls):
            model_arch = cls.model_arch

            def set_vocab(self):
                special = gguf.SpecialVocab(self.dir_model, n_vocab=hparams["vocab_size"])
                special.chat_template = None
                special.add_to_gguf(self.gguf_writer)

        WithoutVocabulary(model, gguf.LlamaFileType.MOSTLY_BF16, whole).write()
        data = whole.read_bytes()
        name = config.parent.name + config.stem.removeprefix("config").replace(".", "-")
        (OUT / f"config-{name}.gguf").write_bytes(data.rstrip(b"\0"))


if __name__ == "__main__":
    main()
