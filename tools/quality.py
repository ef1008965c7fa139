#!/usr/bin/env python3
"""Compares phi3's quantizers with llama.cpp's on one checkpoint and one text, and prints rows of docs/quality.md.

    tools/quality.py --phi3 ./phi3 --llama BIN --model DIR --gguf DIR.bf16.gguf --text TEXT --work FOLDER
                     [--tokens N] [--mixes] [TYPE ...]

--gguf is the checkpoint as a GGUF file in BF16 (phi3 quantize --weights stored), which llama-quantize reads. phi3 evaluates both: the checkpoint with
--weights TYPE, and the file that llama-quantize makes with the same types per tensor (--pure). So only the choice of the
quantized numbers differs. --mixes adds llama.cpp's usual mixes, such as Q4_K_M. Needs only Python's standard library.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

TYPES = "q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 q4_0 iq4_nl iq4_xs q3_k q2_k".split()
MIXES = "Q5_K_M Q4_K_M Q4_K_S Q3_K_M Q2_K".split()
PURE = {"q5_k": "Q5_K_S", "q4_k": "Q4_K_S", "q3_k": "Q3_K_S", "q2_k": "Q2_K"}  # llama-quantize's names

p = argparse.ArgumentParser()
for name in "phi3 llama model gguf text work".split():
    p.add_argument("--" + name, required=True)
p.add_argument("--tokens", default="4096")
p.add_argument("--mixes", action="store_true")
p.add_argument("types", nargs="*", help="TYPE of --weights; none: all, or with --mixes only those")
a = p.parse_args()
hidden = json.loads((Path(a.model) / "config.json").read_text())["hidden_size"]
work = Path(a.work)
work.mkdir(parents=True, exist_ok=True)


def measure(*model):
    command = [a.phi3, "perplexity", "-q", "--json", "-f", a.text, "-c", "512", "--stride", "512"]
    command += ["--max-tokens", a.tokens, "--against", a.model, *model]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def quantize(kind, *options):
    out = work / f"{kind}{'-pure' if options else ''}.gguf"
    if not out.exists():
        log = subprocess.run([f"{a.llama}/llama-quantize", *options, a.gguf, str(out), kind],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if log.returncode:
            sys.exit(log.stdout)
    return out


def row(name, r):
    k = r["against"]
    print(f"| {name} | {r['perplexity']['value']:.3f} | {k['kl']['value']:.5f} ± {k['kl']['error']:.5f} | "
          f"{100 * k['same_top']['value']:.2f} % | {100 * k['rms_change']:.2f} % |", flush=True)


print("| weights | perplexity | mean KL divergence | same top-1 | RMS change of p |\n|---|---|---|---|---|")
for t in a.types or ([] if a.mixes else TYPES):
    row(f"phi3 `{t}`", measure("--model", a.model, "--weights", t))
    kind = PURE.get(t, t.upper())
    # phi3's type for the embedding table; Q6_K has blocks of 256 weights
    table = "q8_0" if t == "q8_0" or hidden % 256 else "q6_k"
    row(f"llama.cpp {t.upper()}", measure("--model", str(quantize(kind, "--pure", "--token-embedding-type", table))))
for mix in MIXES if a.mixes else []:
    row(f"llama.cpp {mix}, its mix", measure("--model", str(quantize(mix))))
