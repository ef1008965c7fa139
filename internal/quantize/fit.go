package quantize

import (
	"math"

	"github.com/x448/float16"
)

// A fitter quantizes blocks. It is the scratch memory of one goroutine.
//
// A block's weights are x. Each becomes a scale times a level, plus a minimum if the format has one. The
// loss of a block is the sum of w·(x-y)², where y is what it becomes, and w is |x| plus a multiple, in most
// formats 1, of the root of the mean x² of the block. Errors of large weights do more harm: with w = 1 the
// sum of (x-y)² is smaller, but the model predicts text worse.
//
// The levels and scales of least loss make weights smaller on average, by the square of the relative error:
// 0.4 % in Q4_0, 4 % in Q2_K. These errors add up from layer to layer, unlike the others, so a last step
// corrects the scales: see correction.
//
// The computation is float64, in which squares and products of float32 neither overflow nor vanish, and
// products are rounded before they are added, so that all processors choose the same bytes.
type fitter struct {
	x, w     []float64 // of the block, or of a group of it
	wx       []float64 // w·x
	xs, ws   [256]float64
	wxs      [256]float64
	q        [256]float64 // levels of the candidate
	best     [256]float64 // levels of the best candidate
	sumW     float64
	sumWX    float64
	sumWXX   float64
	scales   [16]float64 // of the groups
	minimums [16]float64 // of the groups, as K-quants store them: they are subtracted
	ints     [16]int     // scales, as multiples of the scale of the block
	mins     [16]int     // minimums, as multiples of the second scale of the block
}

// A grid is the levels that a weight can have: the integers from lo to hi, or those of IQ4.
type grid struct {
	lo, hi float64
	spread float64 // the search tries scales for which the largest weight is 1 ± spread times lo, or hi
	iq4    bool
}

// set makes values the block, all of it the group. The importance of a weight is |x| plus floor times the
// root of the mean square.
func (f *fitter) set(values []float32, floor float64) {
	size := 0.0 // the root of the mean square
	for _, v := range values {
		size += float64(float64(v) * float64(v))
	}
	size = math.Sqrt(size / float64(len(values)))
	for i, v := range values {
		x := float64(v)
		w := float64(floor*size) + math.Abs(x)
		f.xs[i], f.ws[i], f.wxs[i] = x, w, float64(w*x)
	}
	f.group(0, len(values))
}

// group makes n weights from start the ones that the other methods work on.
func (f *fitter) group(start, n int) {
	f.x, f.w, f.wx = f.xs[start:][:n], f.ws[start:][:n], f.wxs[start:][:n]
	f.sumW, f.sumWX, f.sumWXX = 0, 0, 0
	for i, w := range f.w {
		f.sumW += w
		f.sumWX += f.wx[i]
		f.sumWXX += float64(f.wx[i] * f.x[i])
	}
}

// nearest sets q to the level nearest to (x-minimum)·inverse of each weight.
func (f *fitter) nearest(q []float64, g *grid, inverse, minimum float64) {
	const magic = 3 << 51 // adding it to a small number rounds it to an integer, ties to even
	if g.iq4 {
		for i, x := range f.x {
			q[i] = nearestIQ4(float64(x * inverse))
		}
		return
	}
	lo, hi := g.lo, g.hi
	q = q[:len(f.x)]
	for i, x := range f.x {
		v := float64((x-minimum)*inverse) + magic - magic
		if v < lo { // min and max would be slower: they look for NaN
			v = lo
		}
		if v > hi {
			v = hi
		}
		q[i] = v
	}
}

// extremes returns the lowest and the highest weight.
func (f *fitter) extremes() (low, high float64) {
	low, high = f.x[0], f.x[0]
	for _, x := range f.x {
		low, high = min(low, x), max(high, x)
	}
	return low, high
}

// fitScale returns the scale with the smallest loss, for weights that become scale·level.
func (f *fitter) fitScale(g *grid) float64 {
	low, high := f.extremes()
	large := high
	if -low > high {
		large = low
	}
	if large == 0 {
		return 0
	}
	var scale, gain float64 // the loss is sumWXX - gain
	try := func(inverse float64) {
		f.nearest(f.q[:], g, inverse, 0)
		var xq, qq float64
		for i, q := range f.q[:len(f.x)] {
			xq += float64(f.wx[i] * q)
			qq += float64(f.w[i] * float64(q*q))
		}
		if qq > 0 && float64(xq*xq) > gain*qq {
			scale, gain = xq/qq, xq*xq/qq
		}
	}
	for step := -9; step <= 9; step++ {
		factor := 1 + g.spread*float64(step)/9
		try(g.lo * factor / large)
		if step%3 == 0 {
			try(g.hi * factor / large)
		}
	}
	for range 2 {
		if scale != 0 {
			try(1 / scale)
		}
	}
	return scale
}

// fitAffine returns the scale and the minimum with the smallest loss, for weights that become scale·level +
// minimum, with levels from 0 to hi. With negative, minimum is at most 0.
func (f *fitter) fitAffine(hi float64, negative bool) (scale, minimum float64) {
	low, high := f.extremes()
	if negative {
		low = min(low, 0)
	}
	if high <= low {
		return 0, low
	}
	g := &grid{hi: hi}
	best := math.Inf(1)
	try := func(inverse, from float64) {
		f.nearest(f.q[:], g, inverse, from)
		var q1, qq, xq float64
		for i, q := range f.q[:len(f.x)] {
			wq := float64(f.w[i] * q)
			q1 += wq
			qq += float64(wq * q)
			xq += float64(f.wx[i] * q)
		}
		if qq == 0 {
			return
		}
		s, m := xq/qq, 0.0
		if det := float64(f.sumW*qq) - float64(q1*q1); det > 1e-9*f.sumW*qq {
			a := (float64(f.sumW*xq) - float64(f.sumWX*q1)) / det
			b := (float64(qq*f.sumWX) - float64(q1*xq)) / det
			if b <= 0 || !negative {
				s, m = a, b
			}
		}
		// at the least squares' solution
		if loss := f.sumWXX - float64(s*xq) - float64(m*f.sumWX); s > 0 && loss < best {
			best, scale, minimum = loss, s, m
		}
	}
	for step := -6; step <= 6; step++ {
		inverse := (hi + float64(step)/4) / (high - low)
		try(inverse, low)
		try(inverse, low+0.5/inverse)
		if step%2 == 0 {
			try(inverse, low-0.5/inverse)
		}
	}
	for range 3 {
		if scale != 0 {
			try(1/scale, minimum)
		}
	}
	if scale == 0 {
		return (high - low) / hi, low
	}
	return scale, minimum
}

// loss sets q to the nearest levels for weights that become scale·level + minimum, and returns the loss.
func (f *fitter) loss(q []float64, g *grid, scale, minimum float64) float64 {
	inverse := 0.0
	if scale != 0 {
		inverse = 1 / scale
	}
	f.nearest(q, g, inverse, minimum)
	sum := 0.0
	for i, x := range f.x {
		d := x - float64(scale*q[i]) - minimum
		sum += float64(f.w[i] * float64(d*d))
	}
	return sum
}

// correction returns the factor by which to multiply the values y, which are those of least loss, so that
// they are unbiased: then the sum of x·y is that of x·x.
func (f *fitter) correction(y func(i int) float64) float64 {
	var xx, xy float64
	for i, x := range f.x {
		xx += float64(x * x)
		xy += float64(x * y(i))
	}
	if xy <= 0 || xx > 1.5*xy || xx < 0.9*xy {
		return 1
	}
	return xx / xy
}

// half returns the finite float16 nearest to x, and its value.
func half(x float64) (uint16, float64) {
	const most = 65504
	h := float16.Fromfloat32(float32(min(max(x, -most), most)))
	return h.Bits(), float64(h.Float32())
}

// halfValue returns the value of a float16.
func halfValue(bits uint16) float64 { return float64(float16.Frombits(bits).Float32()) }
