"""Trains the built-in checkpoint and writes it to internal/demo/checkpoint.

    python3 internal/demo/train.py                    # or: make demo-model

It takes about half an hour on one CPU core.

The checkpoint in the repository was made with Python 3, torch==2.9.1, transformers==4.57.6,
tokenizers==0.22.2 and safetensors==0.8.0. All random numbers are seeded, and torch runs its deterministic
algorithms on one thread. A second run on the same kind of CPU therefore writes the same bytes. On another
kind of CPU the order of the sums differs, so the bytes differ, but the model is as good.

The model below is Phi-3's forward pass in float32. It computes nothing for padding outside attention: the
documents of a batch are concatenated to one row of tokens, and only attention separates them.
check.py then loads the files with transformers' Phi3ForCausalLM.
"""

import argparse
import math
import pathlib
import random
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import corpus
import vocabulary

SEED = 3
STEPS = 2200
BATCH_TOKENS = 1536
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 60
ATTENTION_GROUPS = 4  # documents of similar length share one padded attention call

VOCAB = -(-(vocabulary.PIECES + len(vocabulary.ADDED)) // 64) * 64  # more rows than tokens, as in Phi-3
HIDDEN, HEADS, HEAD_DIM, INTERMEDIATE, LAYERS = 192, 2, 96, 512, 4
MAX_LENGTH = 512
ROPE_THETA, EPS = 10000.0, 1e-5

CONFIG = {
    "_name_or_path": "phi3-demo",
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": vocabulary.BOS,
    "embd_pdrop": 0.0,
    "eos_token_id": vocabulary.PAD_EOS,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": MAX_LENGTH,
    "model_type": "phi3",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": HEADS,
    "original_max_position_embeddings": MAX_LENGTH,
    "pad_token_id": vocabulary.PAD_EOS,
    "resid_pdrop": 0.0,
    "rms_norm_eps": EPS,
    "rope_scaling": None,
    "rope_theta": ROPE_THETA,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.6",
    "use_cache": True,
    "vocab_size": VOCAB,
}
GENERATION_CONFIG = {
    "_from_model_config": True,
    "bos_token_id": vocabulary.BOS,
    "eos_token_id": [vocabulary.PAD_EOS, vocabulary.ASSISTANT, vocabulary.END],
    "pad_token_id": vocabulary.PAD_EOS,
    "transformers_version": "4.57.6",
}


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS))


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv_proj = linear(HIDDEN, 3 * HEADS * HEAD_DIM)
        self.o_proj = linear(HEADS * HEAD_DIM, HIDDEN)

    def forward(self, x, batch):
        q, k, v = self.qkv_proj(x).view(-1, 3, HEADS, HEAD_DIM).unbind(1)  # each [tokens, heads, head_dim]
        q, k = batch.rotate(q), batch.rotate(k)
        out = []
        for begin, end, index, mask in batch.groups:
            # [documents, heads, longest, head_dim]. Padding is on the right, so causal attention ignores it.
            padded = (t[begin:end][index].transpose(1, 2) for t in (q, k, v))
            a = F.scaled_dot_product_attention(*padded, is_causal=True)
            out.append(a.transpose(1, 2).flatten(2)[mask])
        return self.o_proj(torch.cat(out))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj = linear(HIDDEN, 2 * INTERMEDIATE)
        self.down_proj = linear(INTERMEDIATE, HIDDEN)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm = RMSNorm()
        self.self_attn = Attention()
        self.post_attention_layernorm = RMSNorm()
        self.mlp = MLP()

    def forward(self, x, batch):
        x = x + self.self_attn(self.input_layernorm(x), batch)
        return x + self.mlp(self.post_attention_layernorm(x))


class Phi3(nn.Module):
    """The parameters have the names of the checkpoint's tensors."""

    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(VOCAB, HIDDEN)
        self.model.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.model.norm = RMSNorm()
        self.lm_head = linear(HIDDEN, VOCAB)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.05 / (math.sqrt(2 * LAYERS) if residual else 1))

    def forward(self, batch):
        """Returns the mean cross-entropy in nats, over all tokens but the last of each document."""
        x = self.model.embed_tokens(batch.ids)
        for layer in self.model.layers:
            x = layer(x, batch)
        logits = self.lm_head(self.model.norm(x)[batch.has_next])
        return F.cross_entropy(logits, batch.next_ids)


class Batch:
    """Concatenated documents, the shortest first."""

    def __init__(self, documents):
        documents = sorted(documents, key=len)
        lengths = [len(ids) for ids in documents]
        self.ids = torch.tensor([i for ids in documents for i in ids])
        positions = torch.tensor([p for n in lengths for p in range(n)])
        self.has_next = torch.tensor([p < n - 1 for n in lengths for p in range(n)]).nonzero().squeeze(1)
        self.next_ids = self.ids[self.has_next + 1]
        inverse_frequency = 1 / ROPE_THETA ** (torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angles = (positions[:, None] * inverse_frequency).repeat(1, 2)[:, None, :]  # [tokens, 1, head_dim]
        self.cos, self.sin = angles.cos(), angles.sin()

        # (first token, last token + 1, index [documents, longest], mask [documents, longest])
        self.groups = []
        begin, group = 0, []
        for i, n in enumerate(lengths):
            group.append(n)
            if sum(group) >= len(self.ids) / ATTENTION_GROUPS or i == len(lengths) - 1:
                starts = torch.tensor([sum(group[:j]) for j in range(len(group))])[:, None]
                columns = torch.arange(max(group))[None, :]
                mask = columns < torch.tensor(group)[:, None]
                self.groups.append((begin, begin + sum(group), torch.where(mask, starts + columns, 0), mask))
                begin, group = begin + sum(group), []

    def rotate(self, x):
        half = HEAD_DIM // 2
        return x * self.cos + torch.cat((-x[..., half:], x[..., :half]), -1) * self.sin


def batches(tokenizer):
    """Yields batches without end. Each has new documents; there are no epochs."""
    rng = random.Random(SEED)
    while True:
        documents, tokens = [], 0
        while tokens < BATCH_TOKENS:
            ids = tokenizer.encode(corpus.document(rng)).ids[:MAX_LENGTH]
            documents.append(ids)
            tokens += len(ids)
        yield Batch(documents)


def learning_rate(step, steps):
    """Returns the learning rate: a linear warm-up, then a cosine that falls to 0."""
    if step < WARMUP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / (steps - WARMUP_STEPS)
    return PEAK_LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done))


def train(tokenizer, steps):
    torch.manual_seed(SEED)
    model = Phi3()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        eps=1e-9,
        fused=True,
    )
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    start, tokens, recent = time.time(), 0, []
    for step, batch in zip(range(steps), batches(tokenizer)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = model(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += len(batch.ids)
        recent = recent[-49:] + [loss.item()]
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(
                f"step {step + 1}/{steps}  loss {sum(recent) / len(recent):.4f}  {tokens:,} tokens  "
                f"{(time.time() - start) / 60:.1f} min",
                flush=True,
            )
    return model


def save(model, directory):
    """Writes the weights as bfloat16 in two shards, split between two layers, and their index."""
    tensors = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    first = ("model.embed_tokens.", *(f"model.layers.{i}." for i in range(LAYERS // 2)))
    weight_map = {}
    for number in (1, 2):
        file = f"model-{number:05}-of-00002.safetensors"
        shard = {name: t for name, t in tensors.items() if name.startswith(first) == (number == 1)}
        save_file(shard, directory / file, metadata={"format": "pt"})
        (directory / file).chmod(0o644)  # save_file makes it readable for the owner only
        weight_map |= dict.fromkeys(shard, file)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    vocabulary.write_json(
        directory / "model.safetensors.index.json",
        {
            "metadata": {"total_size": total},
            "weight_map": dict(sorted(weight_map.items())),
        },
    )
    vocabulary.write_json(directory / "config.json", CONFIG)
    vocabulary.write_json(directory / "generation_config.json", GENERATION_CONFIG)


def main():
    parser = argparse.ArgumentParser(description="Trains the built-in checkpoint.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "checkpoint")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # no code here reads uninitialized memory; filling it takes 1/7 of the time
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = vocabulary.write(arguments.out, MAX_LENGTH)
    save(train(tokenizer, arguments.steps), arguments.out)
    size = sum(f.stat().st_size for f in arguments.out.iterdir())
    print(f"wrote {arguments.out}: {size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
