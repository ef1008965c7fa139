"""Writes mma_vectors.txt: results of one mma.sync m16n8k16 bf16, computed in rational numbers.

    python3 internal/tensorcore/testdata/mma_vectors.py >internal/tensorcore/testdata/mma_vectors.txt

It needs only Python 3. A line has the kind of case, followed by hexadecimal bits: c as float32, x[16] and
y[16] as bfloat16, c + x·y on compute capability 8.x, and c + x·y on 9.0 and newer. The rules of the rounding
are those of "MMA-Sim" (Xie et al., 2025, arXiv 2511.10909). The script shares no code with the Go and C++
code that is compared with it.
"""

import random
from fractions import Fraction

INFINITY, NOT_A_NUMBER = 0x7F800000, 0x7FFFFFFF


def take_apart(bits):
    """Returns the value and the alignment exponent of a float32 (as bits). None, None: infinity or NaN."""
    sign, field, mantissa = -1 if bits >> 31 else 1, bits >> 23 & 255, bits & 0x7FFFFF
    if field == 255:
        return None, None
    exponent = max(field, 1) - 127
    return sign * Fraction(mantissa + (0x800000 if field else 0), 2**23) * Fraction(2) ** exponent, exponent


def special(c, x, y):
    """Returns the result if an input makes it an infinity or a NaN, otherwise None."""
    signs = set()
    for factors in [(c,)] + [(p << 16, q << 16) for p, q in zip(x, y)]:
        infinite = any(f & 0x7FFFFFFF == INFINITY for f in factors)
        nan = any(f & 0x7FFFFFFF > INFINITY for f in factors)
        if nan or infinite and any(f & 0x7FFFFFFF == 0 for f in factors):
            return NOT_A_NUMBER
        if infinite:
            signs.add(sum(f >> 31 for f in factors) % 2)
    if len(signs) == 2:
        return NOT_A_NUMBER
    return signs.pop() << 31 | INFINITY if signs else None


def truncate(value):
    """Rounds a value toward 0 to a float32, and returns its bits."""
    size, sign = abs(value), 1 << 31 if value < 0 else 0
    if size == 0:
        return 0
    exponent = -126
    while size >= Fraction(2) ** (exponent + 1):
        exponent += 1
    if exponent > 127:
        return sign | INFINITY
    mantissa = int(size / Fraction(2) ** (exponent - 23))  # 24 bits, fewer if subnormal
    if mantissa == 0:
        return 0
    return sign | ((exponent + 127) << 23) + mantissa - 0x800000 if mantissa >> 23 else sign | mantissa


def add(c, x, y, fraction):
    """Computes one step of a tensor core, which adds c and all products at once."""
    result = special(c, x, y)
    if result is not None:
        return result
    terms = [take_apart(c)]
    for p, q in zip(x, y):
        (v, e), (w, f) = take_apart(p << 16), take_apart(q << 16)
        terms.append((v * w, e + f))
    unit = Fraction(2) ** (max(exponent for _, exponent in terms) - fraction)
    return truncate(sum(int(value / unit) for value, _ in terms) * unit)  # int rounds toward 0


def ampere(c, x, y):
    return add(add(c, x[:8], y[:8], 24), x[8:], y[8:], 24)


def hopper(c, x, y):
    return add(c, x, y, 25)


rng = random.Random(20251111)


def number(low, high, bits=16):
    """Returns a random sign and mantissa, with an exponent field between low and high."""
    return rng.getrandbits(1) << (bits - 1) | rng.randint(low, high) << (bits - 9) | rng.getrandbits(bits - 9)


def plain(low, high):
    """Returns numbers with exponents in a range, and a c of about the size of the products."""
    return lambda: (
        number(min(max(2 * low - 127, 0), 254), min(max(2 * high - 127, 0), 254), 32),
        [number(low, high) for _ in range(16)],
        [number(low, high) for _ in range(16)],
    )


def some(choices, case):
    """Replaces some factors of a case."""

    def draw():
        c, x, y = case()
        for row in x, y:
            for _ in range(rng.randint(0, 4)):
                row[rng.randrange(16)] = rng.choice(choices)
        return c, x, y

    return draw


def cancelling():
    c, x, y = plain(120, 132)()
    order = list(range(16))
    rng.shuffle(order)
    for i, j in zip(order[:8], order[8:]):
        x[j], y[j] = x[i] ^ 0x8000 ^ rng.randint(0, 1), y[i]
    return rng.choice([c, 0, 0x80000000, number(80, 110, 32)]), x, y


def near_four():
    sign = rng.getrandbits(1)
    flip = lambda: 0x8000 if rng.random() < 0.05 else 0
    x = [0x3FFF ^ sign << 15 ^ rng.randint(0, 1) ^ flip() for _ in range(16)]
    c = 0x3FFFFFFF ^ rng.getrandbits(1) << 31 ^ rng.randint(0, 255)
    return c, x, [0x3FFF ^ rng.randint(0, 1) for _ in range(16)]


def all_zeros():
    c = rng.choice([0, 1 << 31, number(0, 100, 32)])
    return c, [rng.choice([0, 0x8000]) for _ in range(16)], plain(1, 250)()[2]


def special_c():
    c, x, y = plain(120, 132)()
    return rng.choice([INFINITY, INFINITY | 1 << 31, INFINITY + 1, 0xFFC00000]), x, y


KINDS = [
    ("usual", 40, plain(120, 129)),
    ("spread", 60, plain(100, 150)),
    ("wide", 30, plain(1, 190)),
    ("tiny", 40, plain(40, 70)),
    ("least", 20, plain(0, 66)),
    ("largest", 30, plain(180, 191)),
    ("zeros", 40, some([0, 0x8000], plain(110, 140))),
    ("large zeros", 30, some([0, 0x8000, number(200, 230)], plain(60, 100))),
    ("all zeros", 8, all_zeros),
    ("subnormal", 30, some([1, 0x8001, 0x7F, 0x807F, 0x40], plain(200, 230))),
    ("cancelling", 50, cancelling),
    ("near four", 30, near_four),
    ("infinity", 20, some([0x7F80, 0xFF80], plain(120, 132))),
    ("infinity and zero", 20, some([0x7F80, 0xFF80, 0], plain(120, 132))),
    ("NaN", 10, some([0x7FC0, 0x7F81, 0xFFFF], plain(120, 132))),
    ("special c", 12, special_c),
]

for kind, count, draw in KINDS:
    for _ in range(count):
        c, x, y = draw()
        bits = [f"{c:08x}"] + [f"{v:04x}" for v in x + y]
        bits += [f"{ampere(c, x, y):08x}", f"{hopper(c, x, y):08x}"]
        print(kind.replace(" ", "-"), *bits)
