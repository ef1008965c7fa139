package verify

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The tolerances. Section 7.5 of the specification derives them. They have not been tried on the published
// weights yet.
const (
	strictAbs, strictRel = 1e-3, 1e-3 // a float32 logit x may be off by strictAbs + strictRel·|x|

	// For bfloat16 hidden states. Other programs round the residual stream after every addition.
	hiddenLargest = 0.08
	hiddenMean    = 0.03
	hiddenCosine  = 0.995 // of a row, at least

	// The choice of another token than the expected one is a near tie if its logit is above the expected
	// token's by at most this many steps between neighbouring bfloat16 numbers. Phi-3's logits are near 20,
	// where a step is 0.125. The specification suggests about 2 steps between bfloat16 runs. On the small
	// checkpoints of testdata, ours and transformers' differ by up to 2.6 steps. Float32 runs differ less.
	nearTieBF16 = 4
	nearTieF32  = 0.5

	// Weights are a release's if the mean distance of their logits is at most this. The mean distance is 14
	// between two releases, 1.7 between random weights of Phi-3-mini's shape and either of them, and less
	// than 0.1 between bfloat16 and float32.
	recognized = 0.5

	// Between our own two runs of any checkpoint.
	selfCosine = 0.999
)

// Measure is a distance and its limit.
type Measure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Least bool    `json:"least,omitempty"` // the limit is a lower bound
}

// OK reports whether the value is within the limit.
func (m Measure) OK() bool {
	if m.Least {
		return m.Value >= m.Limit
	}
	return m.Value <= m.Limit
}

// finite replaces NaN and infinity, which JSON does not have, by the worst finite number.
func (m Measure) finite() Measure {
	if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
		m.Value = math.MaxFloat64
		if m.Least {
			m.Value = -math.MaxFloat64
		}
	}
	return m
}

func (m Measure) String() string {
	sign := "≤"
	switch {
	case m.Least && m.OK():
		sign = "≥"
	case m.Least:
		sign = "<"
	case !m.OK():
		sign = ">"
	}
	digits := 3
	if m.Least { // a cosine differs from 1 only in late digits
		digits = 6
	}
	return fmt.Sprintf("%s %s %s %s", m.Name, strconv.FormatFloat(m.Value, 'g', digits, 64), sign,
		strconv.FormatFloat(m.Limit, 'g', 4, 64))
}

// strict finds the logit whose distance is the largest share of its tolerance, and returns both. The rows of
// got begin with the values that want has.
func strict(want [][]float64, got [][]float32) Measure {
	worst := Measure{Name: "largest"}
	ratio := -1.0
	for i, row := range want {
		for j, x := range row {
			off, limit := math.Abs(float64(got[i][j])-x), strictAbs+strictRel*math.Abs(x)
			if r := off / limit; !(r <= ratio) { // NaN, too
				ratio, worst.Value, worst.Limit = r, off, limit
			}
			if math.IsNaN(ratio) {
				return worst
			}
		}
	}
	return worst
}

// meanOff returns the mean distance of got from want.
func meanOff(want [][]float64, got [][]float32) float64 {
	var sum float64
	n := 0
	for i, row := range want {
		for j, x := range row {
			sum += math.Abs(float64(got[i][j]) - x)
			n++
		}
	}
	return sum / float64(n)
}

// hiddenMeasures compares the ends of hidden states.
func hiddenMeasures(want, got [][]float64) []Measure {
	var largest, sum float64
	cosineLeast := 1.0
	n := 0
	for i := range want {
		for j := range want[i] {
			off := math.Abs(want[i][j] - got[i][j])
			largest = math.Max(largest, off) // NaN stays
			sum += off
			n++
		}
		cosineLeast = math.Min(cosineLeast, cosine(want[i], got[i]))
	}
	return []Measure{
		{Name: "largest", Value: largest, Limit: hiddenLargest},
		{Name: "mean", Value: sum / float64(n), Limit: hiddenMean},
		{Name: "cosine", Value: cosineLeast, Limit: hiddenCosine, Least: true},
	}
}

func cosine[T float32 | float64](a, b []T) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}

// ends returns the first and the last three elements of a row.
func ends(row []float32) []float64 {
	if len(row) > 6 {
		row = slices.Concat(row[:3], row[len(row)-3:])
	}
	values := make([]float64, len(row))
	for i, v := range row {
		values[i] = float64(v)
	}
	return values
}

// steps returns the distance of the greatest logit from another one, in steps between bfloat16 numbers of the
// greatest one's size.
func steps(greatest, other float32) float64 {
	// |greatest| is in [2^(exponent-1), 2^exponent), where bfloat16 has 2^7 numbers
	_, exponent := math.Frexp(float64(greatest))
	step := math.Ldexp(1, exponent-8)
	return float64(greatest-other) / step
}

func numbers(values []float64) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = strconv.FormatFloat(v, 'f', 4, 64)
	}
	return strings.Join(words, " ")
}

func ids(list []int32) string {
	words := make([]string, len(list))
	for i, id := range list {
		words[i] = strconv.Itoa(int(id))
	}
	return strings.Join(words, " ")
}
