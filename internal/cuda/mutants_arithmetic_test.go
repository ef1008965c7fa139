//go:build cuda && linux && cgo

package cuda

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/kernels/emulator"
)

// Mistakes in the emulator's arithmetic of tensor cores. A GPU that added in this way would fail the same
// test.
var arithmeticMutants = []struct{ name, old, mistake string }{
	{"Hopper keeps 24 bits", "multiply<25, 16>(d, a, b);", "multiply<24, 16>(d, a, b);"},
	{"Hopper adds in two steps", "multiply<25, 16>(d, a, b);", "multiply<25, 8>(d, a, b);"},
	{"Ampere keeps 25 bits", "multiply<24, 8>(d, a, b);", "multiply<25, 8>(d, a, b);"},
	{"Ampere adds in one step", "multiply<24, 8>(d, a, b);", "multiply<24, 16>(d, a, b);"},
	{"the generations are swapped", "core == AMPERE", "core == HOPPER"},
	{
		"terms are cut off downwards", "__builtin_convertvector(product * per_unit, Ints);",
		"(__builtin_convertvector(product * per_unit * 2, Ints) >> 1);",
	},
	{"sums are rounded", "(Ints)nearest + farther", "(Ints)nearest"},
	{
		"products are aligned by their own exponent",
		"a.exponent[first + i / 8 * 2][i / 4 % 2][lane + i % 4] + b.exponent[k + i];",
		"exponents((Words)(a.value[first + i / 8 * 2][i / 4 % 2][lane + i % 4] * b.value[k + i]));",
	},
	{"c is not aligned", "Ints largest = exponents(c);", "Ints largest = {};"},
	{"zeros have no exponent", "(field > 1 ? field : Ints{} + 1)", "(field > 0 ? field : Ints{} - 300)"},
	{"sums overflow an int32", "*doubtful |= ((Ints)products > most) | ((Ints)products < -most);", ""},
	{"infinities are numbers", "*doubtful |= (largest > 2 * BIAS - 1) |", "*doubtful |="},
	{"small exponents are as good as any", " | ((largest < FRACTION + 1) & ~all_zero);", ";"},
	{
		"exactly: terms are cut off downwards",
		"sum += t.significand / ((int64_t)1 << shift);", "sum += t.significand >> shift;",
	},
	{"exactly: the input's NaN", "return NOT_A_NUMBER;", "return 0x7fc00000;"},
	{"exactly: the largest number for infinity", "return sign | INFINITE;", "return sign | (INFINITE - 1);"},
	{"exactly: subnormal sums keep all bits", "(exponent < 1 - BIAS ? 1 - BIAS : exponent)", "exponent"},
}

// TestArithmeticMutants plants them: TestConformanceMMA must notice each.
func TestArithmeticMutants(t *testing.T) {
	forTheEmulator(t)
	room := make(chan struct{}, 2)
	for _, m := range arithmeticMutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			library, err := emulator.BuildMutant(t.TempDir(), emulator.Fast,
				emulator.Mutant{
					File: "emulator/src/mma.cc", Old: m.old,
					Mistake: m.mistake,
				}, conformanceKernels)
			require.NoError(t, err)
			output, err := runOn(t, library, "^TestConformanceMMA$/^compute_(8.0|9.0)$")
			require.Error(t, err, "not noticed")
			require.Regexp(t, "mma.sync .* does not add as internal/tensorcore's", output)
			t.Log(regexp.MustCompile(`internal/tensorcore's .*`).FindString(output))
		})
	}
}
