// Computes mma.sync.m16n8k16 with the bits of NVIDIA's tensor cores, as described by Xie et al.,
// "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores" (2025), arXiv 2511.10909.
//
// A step adds PRODUCTS products to a float32 c, all at once:
//
//   1. The terms are c and the exact products. The exponent of a product is the sum of its factors'
//      exponents, so its significand may be 2 or more. Zero and subnormal numbers have the exponent -126, so
//      a product of zero may have a large exponent.
//   2. Every term is truncated to a multiple of the unit 2^(largest exponent - FRACTION). The results are
//      added as integers.
//   3. The sum is truncated to a float32. A sum of 0 is +0. A sum that is too large is infinite.
//   4. Infinities and NaN give the results of IEEE arithmetic, but every NaN is 0x7fffffff.
//
//                     steps of an instruction   PRODUCTS   FRACTION
//   Ampere                                  2          8         24
//   Hopper                                  1         16         25
//
// add_row adds 8 sums at a time with the CPU's float instructions, which are exact for usual numbers. It
// reports the sums for which they may not be exact, and add_exactly computes those again, one by one.
#include "mma.h"
#include <cstring>

namespace emulator {

namespace {

constexpr int K = 16, ROWS = 16, COLUMNS = 8;
constexpr int BIAS = 127, MANTISSA = 23;
constexpr int SPECIAL = 255; // exponent field of infinity and NaN

constexpr uint32_t SIGN = 0x80000000, INFINITE = 0x7f800000, NOT_A_NUMBER = 0x7fffffff;

// --- One sum

struct Term {
	int64_t significand; // signed
	int exponent;        // of the bit that stands for 1
};

// Splits a finite float32. The significand has 23 bits after the point.
Term take_apart(uint32_t bits)
{
	const int field = (int)(bits >> MANTISSA & 0xff);
	const int64_t fraction = bits & 0x7fffff, significand = field ? fraction | 1 << MANTISSA : fraction;
	return {bits & SIGN ? -significand : significand, (field ? field : 1) - BIAS};
}

// The result if c or a product is infinite or NaN, otherwise 0. In float64 no product of finite bfloat16
// numbers is infinite.
uint32_t special_sum(uint32_t c, const uint16_t *x, const uint16_t *y, int products)
{
	const auto widened = [](uint32_t bits) {
		float value;
		memcpy(&value, &bits, 4);
		return (double)value;
	};
	double sum = widened(c);
	for (int k = 0; k < products; k++)
		sum += widened((uint32_t)x[k] << 16) * widened((uint32_t)y[k] << 16);
	if (sum != sum)
		return NOT_A_NUMBER;
	if (sum - sum != 0)
		return INFINITE | (sum < 0 ? SIGN : 0);
	return 0;
}

// sum·2^unit, truncated to a float32.
uint32_t to_float32(int64_t sum, int unit)
{
	if (!sum)
		return 0;
	const uint32_t sign = sum < 0 ? SIGN : 0;
	uint64_t magnitude = (uint64_t)(sum < 0 ? -sum : sum);
	const int exponent = unit + 63 - __builtin_clzll(magnitude); // of the leading bit
	if (exponent > BIAS)
		return sign | INFINITE;
	const int last =
		(exponent < 1 - BIAS ? 1 - BIAS : exponent) - MANTISSA; // exponent of the float32's last bit
	const int shift = last - unit;
	magnitude = shift >= 64 ? 0 : shift >= 0 ? magnitude >> shift : magnitude << -shift;
	if (!magnitude)
		return 0;
	// The leading bit of a normal number adds 1 to the exponent's field.
	return magnitude >> MANTISSA
			   ? sign | (uint32_t)(((uint64_t)(exponent + BIAS - 1) << MANTISSA) + magnitude)
			   : sign | (uint32_t)magnitude;
}

template <int FRACTION, int PRODUCTS> uint32_t add_exactly(uint32_t c, const uint16_t *x, const uint16_t *y)
{
	for (int from = 0; from < K; from += PRODUCTS, x += PRODUCTS, y += PRODUCTS) {
		if (const uint32_t special = special_sum(c, x, y, PRODUCTS)) {
			c = special;
			continue;
		}
		Term terms[1 + PRODUCTS]; // with FRACTION bits after the point
		terms[0] = take_apart(c);
		terms[0].significand *= 1 << (FRACTION - MANTISSA);
		int largest = terms[0].exponent;
		for (int k = 0; k < PRODUCTS; k++) {
			const Term p = take_apart((uint32_t)x[k] << 16), q = take_apart((uint32_t)y[k] << 16);
			// A bfloat16 has 7 bits after the point, followed by 16 zeros.
			const int64_t product = (p.significand >> 16) * (q.significand >> 16);
			terms[1 + k] = {product * (1 << (FRACTION - 14)), p.exponent + q.exponent};
			largest = largest < terms[1 + k].exponent ? terms[1 + k].exponent : largest;
		}
		int64_t sum = 0;
		for (const Term &t : terms) {
			const int shift = largest - t.exponent;
			if (shift < 63)
				sum += t.significand / ((int64_t)1 << shift);
		}
		c = to_float32(sum, largest - FRACTION);
	}
	return c;
}

// --- 8 sums at a time

typedef float Floats __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32))); // a comparison gives -1 where it holds
#define VECTOR_FUNCTION static inline __attribute__((always_inline))

VECTOR_FUNCTION Words load(const void *p)
{
	Words v;
	memcpy(&v, p, sizeof v);
	return v;
}

// The exponent fields of floats: 1 for zero and subnormal numbers; for infinity and NaN a value that no
// sum of exponents reaches.
VECTOR_FUNCTION Ints exponents(Words bits)
{
	const Ints field = (Ints)(bits >> MANTISSA & 0xff), special = field == SPECIAL;
	return (field > 1 ? field : Ints{} + 1) | (special & 0x1000);
}

// A register holds two bfloat16 numbers, the lower k in its lower half. These widen one of them to float32.
VECTOR_FUNCTION Words lower(Words registers) { return registers << 16; }
VECTOR_FUNCTION Words upper(Words registers) { return registers & 0xffff0000; }

// a's registers: each number as a float, and its exponent field minus BIAS; [register][half][lane].
struct A {
	alignas(32) float value[4][2][32];
	alignas(32) int exponent[4][2][32];
	bool zero[ROWS]; // whether the whole row is zero
};

// b's rows. k is in the order of A's registers: 0, 2, 4, 6, 1, 3, 5, 7, and the same plus 8. Columns are
// in the order of d's: 0, 2, 4, 6, 1, 3, 5, 7.
struct B {
	Floats value[K];
	Ints exponent[K];
	Ints zero; // whether the whole column is zero
};

VECTOR_FUNCTION void unpack_a(A &to, const uint32_t (&a)[4][32])
{
	for (int i = 0; i < 4; i++)
		for (int lane = 0; lane < 32; lane += 8)
			for (int half = 0; half < 2; half++) {
				const Words registers = load(&a[i][lane]), bits = half ? upper(registers) : lower(registers);
				const Ints exponent = exponents(bits) - BIAS;
				memcpy(&to.value[i][half][lane], &bits, sizeof bits);
				memcpy(&to.exponent[i][half][lane], &exponent, sizeof exponent);
			}
	for (int row = 0; row < ROWS; row++) {
		uint64_t left[2], right[2];
		memcpy(left, &a[row / 8][row % 8 * 4], sizeof left);
		memcpy(right, &a[row / 8 + 2][row % 8 * 4], sizeof right);
		to.zero[row] = ((left[0] | left[1] | right[0] | right[1]) & 0x7fff7fff7fff7fff) == 0;
	}
}

VECTOR_FUNCTION void unpack_b(B &to, const uint32_t (&b)[2][32])
{
	alignas(32) uint32_t registers[2][4][COLUMNS];
	for (int i = 0; i < 2; i++)
		for (int lane = 0; lane < 32; lane++)
			registers[i][lane % 4][lane / 8 + lane / 4 % 2 * 4] = b[i][lane];
	Words any = {};
	for (int k = 0; k < K; k++) {
		const Words pair = load(registers[k / 8][k % 4]), bits = k / 4 % 2 ? upper(pair) : lower(pair);
		to.value[k] = (Floats)bits, to.exponent[k] = exponents(bits);
		any |= bits << 1;
	}
	to.zero = any == 0;
}

// Adds PRODUCTS products of a row, from k on, to c. Returns the sums, and in *doubtful the sums that may
// be wrong: those with an extreme exponent. For all others the float operations lose nothing that
// matters:
//
//   - A product of two bfloat16 numbers has 16 bits. If it is subnormal and rounded, it is less than a unit,
//     before and after.
//   - A multiplication by a power of two loses less than a unit.
//   - The conversion to integers truncates.
template <int FRACTION, int PRODUCTS>
VECTOR_FUNCTION Words add_row(Words c, const A &a, const B &b, int row, int k, Ints *doubtful)
{
	const int first = row / 8 + k / 8 * 2, lane = row % 8 * 4;
	Ints largest = exponents(c);
#pragma GCC unroll 16
	for (int i = 0; i < PRODUCTS; i++) {
		const Ints e = a.exponent[first + i / 8 * 2][i / 4 % 2][lane + i % 4] + b.exponent[k + i];
		largest = e > largest ? e : largest;
	}
	// The unit must be a normal number, and no product may be infinite. If all terms are 0, exponents do
	// not matter.
	const Ints all_zero = (c << 1 == 0) & (b.zero | -(int)a.zero[row]);
	*doubtful |= (largest > 2 * BIAS - 1) | ((largest < FRACTION + 1) & ~all_zero);
	largest = largest < FRACTION + 1 ? Ints{} + FRACTION + 1 : largest;
	const Floats unit = (Floats)((Words)(largest - FRACTION) << MANTISSA);
	const Floats per_unit = (Floats)((Words)(2 * BIAS + FRACTION - largest) << MANTISSA);

	Words products = {};
#pragma GCC unroll 16
	for (int i = 0; i < PRODUCTS; i++) {
		const Floats product = a.value[first + i / 8 * 2][i / 4 % 2][lane + i % 4] * b.value[k + i];
		products += (Words)__builtin_convertvector(product * per_unit, Ints);
	}
	// A product is less than 4·2^FRACTION, and c is less than 2·2^FRACTION. 16 products fit in an int32,
	// but perhaps not together with c.
	if (PRODUCTS > 8) {
		const int most = INT32_MAX - (1 << (FRACTION + 2));
		*doubtful |= ((Ints)products > most) | ((Ints)products < -most);
	}
	const Ints sum = (Ints)(products + (Words)__builtin_convertvector((Floats)c * per_unit, Ints));
	// The nearest float32 is the truncated sum, or the next one farther from zero. Times the unit it is a
	// normal number.
	const Floats nearest = __builtin_convertvector(sum, Floats);
	const Ints back = __builtin_convertvector(nearest, Ints);
	const Ints farther = (back < 0 ? -back : back) > (sum < 0 ? -sum : sum);
	return (Words)((Floats)((Ints)nearest + farther) * unit);
}

// Computes one sum again. row and column are its place in d.
template <int FRACTION, int PRODUCTS>
float exact_sum(const float (&d)[4][32], const uint32_t (&a)[4][32], const uint32_t (&b)[2][32], int row,
                int column)
{
	uint16_t x[K], y[K];
	for (int k = 0; k < K; k++) {
		const int shift = k % 2 * 16, pair = k % 8 / 2;
		x[k] = (uint16_t)(a[row / 8 + k / 8 * 2][row % 8 * 4 + pair] >> shift);
		y[k] = (uint16_t)(b[k / 8][column * 4 + pair] >> shift);
	}
	uint32_t bits;
	memcpy(&bits, &d[row / 8 * 2 + column % 2][row % 8 * 4 + column / 2], 4);
	bits = add_exactly<FRACTION, PRODUCTS>(bits, x, y);
	float sum;
	memcpy(&sum, &bits, 4);
	return sum;
}

template <int FRACTION, int PRODUCTS>
void multiply(float (&d)[4][32], const uint32_t (&a)[4][32], const uint32_t (&b)[2][32])
{
	// Each lane has two columns of a row, in two registers.
	alignas(32) float sums[ROWS][COLUMNS];
	for (int row = 0; row < ROWS; row++)
		for (int odd = 0; odd < 2; odd++)
			memcpy(sums[row] + odd * 4, &d[row / 8 * 2 + odd][row % 8 * 4], 16);
	A unpacked_a;
	B unpacked_b;
	unpack_a(unpacked_a, a);
	unpack_b(unpacked_b, b);

	Ints doubtful[ROWS], any = {};
	for (int row = 0; row < ROWS; row++) {
		Words c = load(sums[row]);
		doubtful[row] = Ints{};
		for (int k = 0; k < K; k += PRODUCTS)
			c = add_row<FRACTION, PRODUCTS>(c, unpacked_a, unpacked_b, row, k, &doubtful[row]);
		memcpy(sums[row], &c, sizeof c);
		any |= doubtful[row];
	}
	uint64_t some[4];
	memcpy(some, &any, sizeof some);
	if (some[0] | some[1] | some[2] | some[3])
		for (int i = 0; i < ROWS * COLUMNS; i++)
			if (const int row = i / COLUMNS, place = i % COLUMNS; doubtful[row][place])
				sums[row][place] = exact_sum<FRACTION, PRODUCTS>(d, a, b, row, place % 4 * 2 + place / 4);
	for (int row = 0; row < ROWS; row++)
		for (int odd = 0; odd < 2; odd++)
			memcpy(&d[row / 8 * 2 + odd][row % 8 * 4], sums[row] + odd * 4, 16);
}

} // namespace

void mma(TensorCore core, float (&d)[4][32], const uint32_t (&a)[4][32], const uint32_t (&b)[2][32])
{
	if (core == AMPERE)
		multiply<24, 8>(d, a, b);
	else
		multiply<25, 16>(d, a, b);
}

} // namespace emulator
