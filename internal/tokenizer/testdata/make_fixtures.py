"""Writes three small tokenizers, and goldens made with them: python3 make_fixtures.py

The versions are tokenizers 0.22.2 and Python 3.11. spm.json is a tokenizer of Llama's kind, as Phi-3's is.
cl100k.json and o200k.json are byte-level, as those of phi-4 and Phi-4-mini. Together the added tokens have
every flag of tokenizer.json, unlike those of any real checkpoint. golden.json has the results of the library.
The Go tests do not need Python. Run this only to change the fixtures.
"""

import json
import random
import re
import unicodedata

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = (
    """The capital of Germany is Berlin. The capital of France is Paris.
Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened.
It's nine o'clock; they're late, and I'd rather not wait: we'll go without them. THEY'LL SEE.
def main(args):\n    if args is None:\n        return 12345\n\n\n    print("hello,   world")  # comment
HelloWorld fooBar snake_case kebab-case 3.14159 1,234,567 http://example.org/a/b?c=d
Straße, naïve café, Ελλάδα, Москва, 日本語のテキスト, 한국어, مرحبا, हिन्दी, 🙂🎉
aaaa aaaaaaaa      spaces\t\ttabs\r\nlines\r\n\r\nend
""".splitlines(keepends=True)
    * 3
)

GO = open("../split.go", encoding="utf-8").read()


def pattern(name):
    """Reads a pattern from split.go, so that both programs use the same one."""
    text = re.search(rf"{name} = ((?:[\s+]*`[^`]*`)+)", GO).group(1)
    return "".join(re.findall(r"`(.*?)`", text, re.S))


ADDED = [
    AddedToken("<|end|>", rstrip=True, normalized=False, special=True),
    AddedToken("<|end|><|end|>", normalized=False, special=True),
    AddedToken("<|left|>", lstrip=True, normalized=False, special=True),
    AddedToken("<|both|>", lstrip=True, rstrip=True, normalized=False, special=True),
    AddedToken("<|plain|>", normalized=False, special=False),
    AddedToken("word", single_word=True, normalized=False, special=False),
    AddedToken("two words", lstrip=True, normalized=False, special=False),
    AddedToken("normal", normalized=True, special=False),
    AddedToken("日本", rstrip=True, single_word=True, normalized=True, special=False),
]


def spm():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    # As for Llama, training splits the text before each run of "▁". The runs themselves can merge.
    t.pre_tokenizer = pre_tokenizers.Split(Regex("▁+[^▁\n]*|\n"), "isolated")
    t.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=640, special_tokens=specials, limit_alphabet=70, show_progress=False),
    )
    j = json.loads(t.to_str())
    j["pre_tokenizer"] = None
    j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] in ("<unk>", "<s>")]
    j["post_processor"] = json.loads(
        processors.TemplateProcessing(
            "<s> $A <|end|>", special_tokens=[("<s>", 1), ("<|end|>", 640)]
        ).__getstate__()
    )
    return j


def byte_level(regex):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=512, initial_alphabet=alphabet, show_progress=False)
    )
    return json.loads(t.to_str())


TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    " \n ",
    "\t",
    "The capital of Germany is",
    " leading",
    "trailing ",
    "a  b   c    d",
    "▁",
    "▁▁ ▁",
    "aaaaaaaaaaaaaaaaaaaaaaa",
    "日本語",
    "日本 語",
    "word",
    "words",
    "word.",
    "sword word",
    "a word\u200d",
    "two words",
    "  two words  ",
    "normal",
    " normal",
    "abnormal normal",
    "<|end|>",
    "<|end|>  x",
    "<|end|>\n\n<|end|>",
    "<|end|><|end|>x",
    "<|end|><|end|><|end|> x",
    "a <|left|> b",
    "a  <|both|>  b",
    "<|both|> <|both|>",
    "<|end|> <|left|>",
    "<|left|><|both|>",
    "a <|plain|> b",
    "<|plain",
    "<|end|",
    "</s>x",
    "<s>",
    "<unk>",
    "<0x0A>",
    "<0xZZ>",
    "It's IT'S it'S 'ſ 'LL we'll'll ''s",
    "HelloWORLDfooBar",
    "12 123 1234 12345",
    "½²Ⅻ٣",
    "x\r\ny\n\n z \r\r\n",
    "   \n   x",
    "\u00a0x\u2003y\u3000z\u0085w\u2028v",
    "é e\u0301 \u0301x",
    "ǅungla ªº ʰʱ",
    "//\n/ ./\r\n/",
    "🙂👨‍👩‍👧‍👦🏳️‍🌈",
    "\U0010ffff\ue000\ufeff\u0000\u007f",
    "Ġ Ċ ĠĠ",
    "مرحبا हिन्दी 한국어 Ελλάδα",
]


def random_texts(n):
    r = random.Random(7)
    bits = (
        [c for x in TEXTS for c in x.split(" ")]
        + [a.content for a in ADDED] * 3
        + [" ", "  ", "\n", "\t", "\r\n"] * 8
    )
    for _ in range(n):
        text = ""
        for _ in range(r.randrange(1, 12)):
            c = chr(r.randrange(0x20, 0x3100))
            if r.random() < 0.8 or unicodedata.category(c) in ("Cn", "Cs"):
                c = r.choice(bits)
            text += c + r.choice(["", "", " "])
        yield text


golden = []
for name, j in (
    ("spm", spm()),
    ("cl100k", byte_level(pattern("PatternCL100K"))),
    ("o200k", byte_level(pattern("PatternO200K"))),
):
    t = Tokenizer.from_str(json.dumps(j))
    t.add_tokens(ADDED)
    t.add_special_tokens([a for a in ADDED if a.special])
    file = f"{name}.json"
    if name == "cl100k":  # the old format of merges, as in Phi-3's file; the library writes the new one
        j = json.loads(t.to_str())
        j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
        open(file, "w", encoding="utf-8").write(json.dumps(j, ensure_ascii=True) + "\n")
        t = Tokenizer.from_file(file)
    else:
        t.save(file, pretty=False)
    r = random.Random(11)
    size = t.get_vocab_size()
    for text in TEXTS + list(random_texts(120)):
        for add in (False, True) if name == "spm" else (False,):
            ids = t.encode(text, add_special_tokens=add).ids
            t.encode_special_tokens = True
            as_text = t.encode(text, add_special_tokens=add).ids
            t.encode_special_tokens = False
            golden.append(
                dict(
                    tokenizer=file,
                    text=text,
                    ids=ids,
                    special_as_text=as_text,
                    add_special_tokens=add,
                    decoded=t.decode(ids, skip_special_tokens=False),
                    decoded_skip_special=t.decode(ids),
                )
            )
    for _ in range(100):  # ids that no text encodes to: incomplete characters, unknown ids
        ids = [
            r.randrange(size + 10) if r.random() < 0.5 else r.randrange(3, 259) for _ in range(r.randrange(9))
        ]
        golden.append(
            dict(
                tokenizer=file,
                text=None,
                ids=ids,
                decoded=t.decode(ids, skip_special_tokens=False),
                decoded_skip_special=t.decode(ids),
            )
        )
json.dump(golden, open("golden.json", "w", encoding="utf-8"), ensure_ascii=True, indent=0)
