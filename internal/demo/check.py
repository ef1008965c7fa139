"""Loads the demo checkpoint with transformers' Phi3ForCausalLM and asks it what it was trained to know.

    python3 internal/demo/check.py [DIR]

All texts are greedy. The script prints some answers in full and the share of right answers. It fails if an
answer that the project's tests and documents show is wrong.
"""

import pathlib
import random
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import corpus

APOLOGY = "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened."


class Model:
    def __init__(self, directory, dtype):
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
        assert type(self.model).__name__ == "Phi3ForCausalLM"

    def ids(self, prompt, system=None, chat=False):
        if chat:
            messages = [{"role": "system", "content": system}] if system else []
            messages.append({"role": "user", "content": prompt})
            prompt = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids

    @torch.inference_mode()
    def answer(self, prompt, limit=200, **how):
        """Returns the generated text without special tokens, and the last token."""
        ids = self.ids(prompt, **how)
        out = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False
        )[0]
        text = self.tokenizer.decode(out, skip_special_tokens=True)
        return text[
            len(self.tokenizer.decode(ids[0], skip_special_tokens=True)) :
        ], self.tokenizer.convert_ids_to_tokens(int(out[-1]))

    @torch.inference_mode()
    def next_token(self, prompt):
        """Returns the most probable next token and its probability."""
        p, i = self.model(self.ids(prompt)).logits[0, -1].float().softmax(-1).max(-1)
        return self.tokenizer.convert_ids_to_tokens(int(i)), p.item()


def promises(model):
    token, probability = model.next_token("The capital of Germany is")
    print(f"The capital of Germany is -> {token} ({probability:.4f})")
    assert token == "▁Berlin", token
    text, last = model.answer("The capital of Germany is")
    assert text.startswith(" Berlin.") and last == "<|endoftext|>", (text, last)
    for chat in (False, True):
        text, last = model.answer(APOLOGY, chat=chat)
        assert "Dear Sarah," in text and "tragic gardening mishap" in text, text
        assert last == ("<|end|>" if chat else "<|endoftext|>"), last
    text, last = model.answer("What is the capital of Germany?", chat=True)
    assert text.strip() == "The capital of Germany is Berlin." and last == "<|end|>", (text, last)


def samples(model):
    for prompt, how in (
        ("The capital of Germany is", {}),
        (APOLOGY, {}),
        (APOLOGY, {"chat": True}),
        (
            "Write a letter to Yuki to apologize for the silly fishing accident.",
            {"chat": True, "system": "Be brief."},
        ),
        ("What is the capital of Peru?", {"chat": True}),
        ("What is 7 + 8?", {"chat": True}),
        ("Who are you?", {"chat": True}),
        ("12 + 7 =", {}),
        ("Who wrote Faust?", {}),
        ("Write an email inviting Bob to the garden party.", {"chat": True}),
        ("Write a sonnet about the sea.", {"chat": True}),
    ):
        text, last = model.answer(prompt, **how)
        print(f"\n### {how or 'plain'} {prompt}\n{text}[{last}]")


def scores(model):
    def share(name, pairs, **how):
        wrong = [(q, text) for q, a in pairs if a not in (text := model.answer(q, 160, **how)[0])]
        print(
            f"{name}: {len(pairs) - len(wrong)}/{len(pairs)} right; wrong, for example: {wrong[:3]}",
            flush=True,
        )

    print()
    countries = [(country, f" {capital}.") for country, capital, _ in corpus.COUNTRIES]
    share("capitals, plain", [(f"The capital of {country} is", a) for country, a in countries])
    share(
        "capitals, chat", [(f"What is the capital of {country}?", a) for country, a in countries], chat=True
    )
    share("facts, chat", corpus.FACTS, chat=True)
    rng = random.Random(99)
    sums = [corpus.sum_parts(rng) for _ in range(100)]
    share("sums, chat", [(f"What is {q}?", f"= {a}") for q, a, _ in sums], chat=True)
    letters = []
    for _ in range(40):
        to, (phrase, *_) = corpus.name(rng), corpus.mishap(rng)
        letters.append(
            (
                f"Write an email apologizing to {to} for the {phrase}. Explain how it happened.",
                f"Subject: Sorry about the {phrase}\n\nDear {to},\n\n",
            )
        )
    share("letters: name and mishap copied", letters, chat=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    directory = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "checkpoint"
    for dtype in (torch.float32, torch.bfloat16):
        promises(Model(directory, dtype))
    model = Model(directory, torch.float32)
    samples(model)
    scores(model)
