"""Measures Hugging Face transformers (bfloat16, SDPA) on a checkpoint, as `phi3 bench` measures phi3:

    python3 tools/bench_transformers.py CHECKPOINT PROMPT_TOKENS:GENERATED_TOKENS...

Prints CSV with the columns of `phi3 bench`, one row for each pair of numbers, as soon as it is measured.
Columns that only phi3 can fill are empty. Needs transformers, and torch with CUDA.
"""

import csv
import statistics
import sys
import time

import torch
import transformers

REPETITIONS = 3
COLUMNS = (
    "model,device,weight_bytes,load_ms,n_prompt,n_gen,repetitions,first_token_ms,first_token_ms_sd,"
    "prefill_tokens_per_s,prefill_tokens_per_s_sd,decode_tokens_per_s,decode_tokens_per_s_sd,"
    "decode_ms_per_token,decode_ms_per_token_sd,decode_bytes_per_token,decode_gb_per_s,decode_gb_per_s_sd"
).split(",")


def main(checkpoint, sizes):
    start = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, torch_dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model = model.to("cuda").eval()
    torch.cuda.synchronize()
    load = time.perf_counter() - start
    model.generation_config.eos_token_id = None  # random weights can produce it at any time

    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for size in sizes:
        prompt_tokens, generated = map(int, size.split(":"))
        row = dict.fromkeys(COLUMNS, "") | measure(model, prompt_tokens, generated)
        row |= {"model": "transformers", "device": torch.cuda.get_device_name(), "load_ms": 1e3 * load}
        writer.writerow(row)
        sys.stdout.flush()


def measure(model, prompt_tokens, generated):
    torch.manual_seed(1)
    prompt = torch.randint(model.config.vocab_size, (1, prompt_tokens), device="cuda")

    def seconds(tokens):
        torch.cuda.synchronize()
        start = time.perf_counter()
        out = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
        torch.cuda.synchronize()
        assert out.shape[1] == prompt_tokens + tokens
        return time.perf_counter() - start

    seconds(2)  # warm-up
    first = [seconds(1) for _ in range(REPETITIONS)]
    # As in phi3 bench, the first token comes from the prefill and is not counted.
    decode = [seconds(generated + 1) - statistics.median(first) for _ in range(REPETITIONS)]

    row = {"n_prompt": prompt_tokens, "n_gen": generated, "repetitions": REPETITIONS}
    row |= spread("first_token_ms", [1e3 * s for s in first])
    row |= spread("prefill_tokens_per_s", [prompt_tokens / s for s in first])
    row |= spread("decode_tokens_per_s", [generated / s for s in decode])
    return row | spread("decode_ms_per_token", [1e3 * s / generated for s in decode])


def spread(name, values):
    return {name: statistics.mean(values), name + "_sd": statistics.stdev(values)}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
