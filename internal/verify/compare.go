package verify

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The tolerances of spec 7.5, where they are derived. None has been measured on the published weights yet.
const (
	strictAbs, strictRel = 1e-3, 1e-3 // a float32 logit x may be off by strictAbs + strictRel·|x|

	// bfloat16 hidden states, whose residual in another program was rounded after every addition.
	hiddenLargest = 0.08
	hiddenMean    = 0.03
	hiddenCosine  = 0.995 // of a row, at least

	// The choice of another token is a near tie if our logit of it is no further above the expected one's
	// than so many steps of bfloat16 numbers of its size. At 20, where Phi-3's are, a step is 0.125. The
	// specification suggests about 2 between bfloat16 runs, but on the small checkpoints of testdata
	// transformers' run is up to 2.6 from ours. Float32 runs are nearer.
	nearTieBF16 = 4
	nearTieF32  = 0.5

	// Two releases of weights are some 14 apart in the mean logit, random weights of Phi-3-mini's shape 1.7
	// from either, and bfloat16 less than 0.1 from float32.
	recognised = 0.5

	// Our own two runs against each other, any checkpoint.
	selfCosine = 0.999
)

// Measure is a distance and its limit.
type Measure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Least bool    `json:"least,omitempty"` // the limit is a lower bound
}

// OK tells whether the value is within the limit.
func (m Measure) OK() bool {
	if m.Least {
		return m.Value >= m.Limit
	}
	return m.Value <= m.Limit
}

// finite puts the worst number there is in the place of none, which JSON does not have either.
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
	if m.Least { // cosines differ from 1 in late digits
		digits = 6
	}
	return fmt.Sprintf("%s %s %s %s", m.Name, strconv.FormatFloat(m.Value, 'g', digits, 64), sign,
		strconv.FormatFloat(m.Limit, 'g', 4, 64))
}

// strict finds the logit that is off by most of what it may be, and returns by how much it is off, and may
// be. got's rows begin with want's values.
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

// meanOff is the mean distance of got from want.
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

// ends is the first and the last three elements of a row.
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

// steps is by how many steps of bfloat16 numbers of its size the greatest logit is above another.
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
