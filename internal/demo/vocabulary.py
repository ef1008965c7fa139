"""Builds the tokenizer of the built-in checkpoint, with the kind, file format and special tokens of Phi-3.

Phi-3's tokenizer is Llama's: a byte-pair encoding of text in which "▁" replaces each space. The 256 byte
tokens encode all characters that have no token. The ids are in the same order as in Phi-3:

    0 <unk>   1 <s>   2 </s>   3..258 bytes   then merged pieces, first merge first   then single characters
    then the eleven added tokens, in Phi-3's order
"""

import json
import pathlib
import random
import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus

PIECES = 2500  # ids before the added tokens; Phi-3 has 32000
ADDED = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
)
BOS, PAD_EOS, ASSISTANT, END = 1, PIECES, PIECES + 1, PIECES + 7

# Printable ASCII characters have tokens even if the corpus lacks them. The newline is a byte token.
CHARACTERS = ["▁"] + [chr(c) for c in range(0x21, 0x7F)]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] in ['system', 'user', 'assistant'] %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def learn_merges(documents):
    """Returns the byte-pair merges, the most frequent first.

    Text between markers is normalized as in the tokenizer: "▁" in front, and in place of each space. No merge
    crosses the border of a word, a digit or a punctuation mark.
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?\p{L}+|▁?[^▁\p{L}\p{N}]|."), behavior="isolated")
    learner.train_from_iterator(
        (
            line
            for text in documents
            for segment in re.split(r"<\|\w+\|>\s*", text)
            if segment
            for line in ("▁" + segment.replace(" ", "▁")).split("\n")
            if line
        ),
        trainers.BpeTrainer(
            vocab_size=PIECES - 259,
            initial_alphabet=CHARACTERS,
            show_progress=False,
            limit_alphabet=len(CHARACTERS),
        ),
    )
    return [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]


def added_token(token_id, content, rstrip, special=True):
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": rstrip,
        "normalized": False,
        "special": special,
    }


def tokenizer_json(merges):
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    # Two merges can give the same piece, which then has one id.
    pieces += dict.fromkeys(left + right for left, right in merges)
    pieces += [c for c in CHARACTERS if c not in pieces]
    assert len(pieces) <= PIECES, len(pieces)
    pieces += [f"<unused{i}>" for i in range(PIECES - len(pieces))]
    added = [
        added_token(0, "<unk>", False),
        added_token(1, "<s>", False),
        added_token(2, "</s>", True, special=False),
    ]
    # The tokenizer drops white space after a role marker, and keeps it after <|endoftext|>.
    added += [
        added_token(PIECES + i, content, rstrip=content != "<|endoftext|>") for i, content in enumerate(ADDED)
    ]
    sequence_a = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [sequence_a],
            "pair": [sequence_a, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [" ".join(merge) for merge in merges],
        },
    }


def write(directory, max_length):
    """Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json. Returns the tokenizer."""
    rng = random.Random(0)
    documents = [corpus.document(rng) for _ in range(30_000)]
    # Every country and capital is as frequent as a common word, so that most become one token.
    documents += [f"{country} {capital}" for country, capital, _ in corpus.COUNTRIES for _ in range(120)]
    documents += [f"{name} {name}" for name in corpus.NAMES for _ in range(150)]

    tokenizer = tokenizer_json(learn_merges(documents))
    directory = pathlib.Path(directory)
    write_json(directory / "tokenizer.json", tokenizer)

    def named(content):
        return {
            "content": content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
        }

    special = {
        "bos_token": named("<s>"),
        "eos_token": named("<|endoftext|>"),
        "pad_token": named("<|endoftext|>"),
        "unk_token": named("<unk>"),
    }
    write_json(directory / "special_tokens_map.json", special)
    write_json(
        directory / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_eos_token": False,
            "added_tokens_decoder": {
                str(token["id"]): {key: value for key, value in token.items() if key != "id"}
                for token in tokenizer["added_tokens"]
            },
            "bos_token": "<s>",
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|endoftext|>",
            "legacy": False,
            "model_max_length": max_length,
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
            "use_default_system_prompt": False,
        },
    )
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
