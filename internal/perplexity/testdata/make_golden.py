#!/usr/bin/env python3
"""Makes golden.json: perplexities that Hugging Face's loop computes on small checkpoints of ../../../testdata.

    python3 internal/perplexity/testdata/make_golden.py

Made with torch 2.9.1 (CPU) and transformers 4.57.6. The Go tests need no Python.

"guide" is the number of the loop in Hugging Face's guide "Perplexity of fixed-length models". From the second
window on, that loop weights a window by one token less than it scores. "nll" is the exact mean of -log p over the tokens that the same
windows score.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
TESTDATA = HERE.parent.parent.parent / "testdata"


def windows(n, size, stride):
    previous = 0
    for begin in range(0, n, stride):
        end = min(begin + size, n)
        yield begin, end, end - previous
        previous = end
        if end == n:
            break


def guide(model, ids, size, stride):
    """The loop of the guide."""
    nll_sum, n_tokens = 0.0, 0
    for begin, end, scored in windows(len(ids), size, stride):
        inputs = torch.tensor([ids[begin:end]])
        targets = inputs.clone()
        targets[:, :-scored] = -100
        with torch.no_grad():
            loss = model(inputs, labels=targets).loss
        n = int((targets != -100).sum()) - 1
        nll_sum, n_tokens = nll_sum + loss.double() * n, n_tokens + n
    return float(torch.exp(nll_sum / n_tokens))


def log_probabilities(model, ids, size, stride):
    """log p of the whole vocabulary for each token but the first one, float64."""
    result = []
    for begin, end, scored in windows(len(ids), size, stride):
        with torch.no_grad():
            logits = model(torch.tensor([ids[begin:end]])).logits[0].double()
        logs = torch.log_softmax(logits, -1)
        first = max(end - begin - scored, 1)
        result += [logs[i - 1] for i in range(first, end - begin)]
    return torch.stack(result)


def case(name, size, stride, n, reference=None):
    generator = torch.Generator().manual_seed(7)
    load = lambda name: AutoModelForCausalLM.from_pretrained(TESTDATA / name, dtype=torch.float32).eval()
    model = load(name)
    ids = torch.randint(0, model.config.vocab_size, (n,), generator=generator).tolist()
    logs = log_probabilities(model, ids, size, stride)
    # a window without overlap does not score its first token
    targets = [t for b, e, s in windows(n, size, stride) for t in ids[max(e - s, b + 1) : e]]
    nll = -logs[range(len(targets)), targets]
    result = dict(
        checkpoint=name, window=size, stride=stride, ids=ids,
        guide=guide(model, ids, size, stride), scored=len(targets), perplexity=float(nll.mean().exp()),
        nll=float(nll.mean()), nll_error=float(nll.std() / len(nll) ** 0.5),
    )
    if reference:
        other = log_probabilities(load(reference), ids, size, stride)
        kl = (other.exp() * (other - logs)).sum(-1)
        p, q = logs[range(len(targets)), targets].exp(), other[range(len(targets)), targets].exp()
        result["against"] = dict(
            checkpoint=reference,
            perplexity=float((-other[range(len(targets)), targets]).mean().exp()),
            kl=float(kl.mean()), kl_error=float(kl.std() / len(kl) ** 0.5), largest_kl=float(kl.max()),
            same_top=float((logs.argmax(-1) == other.argmax(-1)).double().mean()),
            rms_change=float(((p - q) ** 2).mean() ** 0.5),
            largest_change=float((p - q)[(p - q).abs().argmax()]),
        )
    return result


if __name__ == "__main__":
    cases = [
        case("f32", 24, 10, 100, "smallv"),
        case("f32", 24, 24, 60),  # no overlap
        case("f32", 100, 50, 60),  # one window
        case("longrope", 40, 12, 90),  # long RoPE: 33 tokens and more use other factors, so the last window does not
    ]
    lines = ",\n".join(json.dumps(c) for c in cases)
    (HERE / "golden.json").write_text("[\n" + lines + "\n]\n")
