#!/usr/bin/env python3
"""Makes quants.json: blocks of every quantized format of GGUF, and their values by the reference.

usage: make_quants.py >quants.json      (needs numpy and gguf 0.19)

The first block of a format is random, the others are edges: zeros, and the largest integers with scales
(and minimums) that are the largest float16, the smallest one, negative, and infinite.
"""
import base64
import json
import sys

import gguf
import numpy as np

# the offsets of the float16 numbers in a block
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}
LARGEST, SMALLEST, NEGATIVE, INFINITE = 0x7BFF, 0x0001, 0xBE66, 0x7C00


def blocks(name, size, rng):
    """Returns the blocks of a format as a matrix of bytes."""
    def with_halves(block, values):
        for at, v in zip(HALVES[name], values):
            block[at:at + 2] = np.frombuffer(np.uint16(v).tobytes(), np.uint8)
        return block

    for _ in range(1):
        halves = rng.normal(0, 0.02, 2).astype(np.float16).view(np.uint16)
        yield with_halves(rng.integers(0, 256, size, dtype=np.uint8), halves)
    yield np.zeros(size, np.uint8)
    for edge in LARGEST, SMALLEST, NEGATIVE, INFINITE:
        yield with_halves(np.full(size, 255, np.uint8), [edge, edge])
        if edge != INFINITE:
            yield with_halves(rng.integers(0, 256, size, dtype=np.uint8), [edge, NEGATIVE])


def main():
    rng = np.random.default_rng(14)
    text = lambda a: base64.b64encode(a.tobytes()).decode()
    rows = []
    for name in HALVES:
        kind = gguf.GGMLQuantizationType[name]
        data = np.stack(list(blocks(name, gguf.GGML_QUANT_SIZES[kind][1], rng)))
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(data, kind).astype("<f4")
        rows.append({"format": name, "blocks": text(data), "values": text(values)})
    sys.stdout.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


main()
