package quantize

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// blocksOf returns blocks of weights of several distributions.
func blocksOf(n int) [][]float32 {
	random := rand.New(rand.NewPCG(7, 8))
	var blocks [][]float32
	for i := range 60 {
		block := make([]float32, n)
		for k := range block {
			switch i % 3 {
			case 0:
				block[k] = float32(random.NormFloat64())
			case 1: // long tails
				block[k] = float32(math.Pow(random.NormFloat64(), 3))
			case 2: // not symmetric
				block[k] = float32(random.ExpFloat64() - 0.3)
			}
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// The scale that is found loses little more than the best of 20,000 scales.
func TestFitScale(t *testing.T) {
	f := new(fitter)
	for _, c := range []struct {
		name  string
		grid  *grid
		bound float64 // of 8 bits, whose loss jumps from scale to scale, and is small
	}{
		{"8", grid8, 1.15},
		{"6", grid6, 1.01},
		{"5", grid5, 1.01},
		{"4", grid4, 1.01},
		{"3", grid3, 1.01},
		{"IQ4", gridIQ4, 1.01},
	} {
		name, g := c.name, c.grid
		total, least := 0.0, 0.0 // of the losses, as parts of the least
		for _, block := range blocksOf(32) {
			f.set(block, 1)
			low, high := f.extremes()
			best := math.Inf(1)
			for i := range 10_000 {
				scale := max(-low, high) / -g.lo * (0.5 + 1.5*float64(i)/10_000)
				best = min(best, f.loss(f.q[:], g, scale, 0), f.loss(f.q[:], g, -scale, 0))
			}
			found := f.loss(f.q[:], g, f.fitScale(g), 0)
			require.Less(t, found, 2*best, "grid %s", name)
			total, least = total+found/best, least+1
		}
		t.Logf("grid %s: %.4f", name, total/least)
		require.Less(t, total, c.bound*least, "grid %s", name)
	}
}

// The scale and the minimum that are found lose little more than the best of 10,000 pairs, which are those of
// least squares for the levels of each.
func TestFitAffine(t *testing.T) {
	f := new(fitter)
	for _, c := range []struct {
		hi, bound float64
		n         int
	}{{3, 1.015, 16}, {15, 1.015, 32}, {31, 1.015, 32}} {
		total, least := 0.0, 0.0 // of the losses, as parts of the least
		for _, block := range blocksOf(c.n) {
			f.set(block, 1)
			low, high := f.extremes()
			best, g := math.Inf(1), &grid{hi: c.hi}
			for i := range 100 {
				for k := range 100 {
					from := low + (high-low)*(float64(k)/100-0.3)*0.5
					scale := (high - low) / c.hi * (0.5 + float64(i)/100)
					best = min(best, f.loss(f.q[:], g, scale, from))
				}
			}
			scale, from := f.fitAffine(c.hi, false)
			found := f.loss(f.q[:], g, scale, from)
			total, least = total+found/best, least+1
		}
		t.Logf("%g levels: %.4f", c.hi+1, total/least)
		require.Less(t, total, c.bound*least, "%g levels", c.hi+1)
	}
}

// The last step makes the sum of x·y that of x·x.
func TestUnbiased(t *testing.T) {
	source := normal(64, 512)
	want := source.Float32s()
	for f := range quantizers {
		var xx, xy float64
		for i, y := range expand(t, source, f) {
			xx += float64(want[i]) * float64(want[i])
			xy += float64(want[i]) * float64(y)
		}
		require.InDelta(t, 1, xy/xx, 1e-3, "%s", f)
	}
}

// The bfloat16 expansion of Q4_1, made by llama.cpp of bfloat16 weights, becomes Q4_1 and Q5_1 without loss.
func TestExactAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	q := &weight.Tensor{Format: weight.Q4_1, Shape: []int{40, 512}}
	for range q.Elems() / 32 {
		low := float64(weight.FromBF16(weight.ToBF16(-0.04 * random.Float32())))
		high := float64(weight.FromBF16(weight.ToBF16(0.04 * random.Float32())))
		d, _ := half((high - low) / 15)
		m, _ := half(low)
		q.Data = append(q.Data, byte(d), byte(d>>8), byte(m), byte(m>>8), 0xf0)
		for range 15 {
			q.Data = append(q.Data, byte(random.Uint32()))
		}
	}
	values := q.Float32s() // rounded to bfloat16
	again := matrix(40, 512, func(i int) float32 { return values[i] })
	for _, f := range []weight.Format{weight.Q4_1, weight.Q5_1} {
		q, err := Tensor(context.Background(), again, f)
		require.NoError(t, err)
		different := 0
		for i, v := range q.Float32s() {
			if v != values[i] {
				different++
			}
		}
		t.Logf("%s: %d of %d", f, different, len(values))
		require.Less(t, different, len(values)/100, "%s", f)
	}
}
