package model

import "math"

// AttentionWeights shows where a layer's attention goes: for every query head the softmax(q·kᵀ/√headDim) of a
// sequence's last position over all its positions, [heads][tokens], each row summing to 1 (spec 3.1; 3.4 for
// the sliding window).
//
// query [heads·headDim] is the last position's, keys [tokens, kvHeads·headDim] are those of all positions
// from 0 on, both before RoPE, as [Output] EachQKV shows them. The weights are formed in float64, for people
// to look at: a backend never has them in one place.
func (m *Model) AttentionWeights(query, keys []float32) [][]float64 {
	c := &m.Config
	width := c.KVHeads * c.HeadDim
	tokens := len(keys) / width
	table := m.short
	if crossing := c.Crossing(); crossing > 0 && tokens > crossing {
		table = m.long
	}
	cos, sin := table.rows(nil, nil, 0, tokens)
	half := c.RoPE.Dim / 2
	rotated := func(head []float32, position int) []float64 {
		x := make([]float64, c.HeadDim)
		for d, v := range head {
			x[d] = float64(v)
		}
		for j := range half {
			cos, sin := float64(cos[position*half+j]), float64(sin[position*half+j])
			x[j], x[j+half] = x[j]*cos-x[j+half]*sin, x[j+half]*cos+x[j]*sin
		}
		return x
	}
	oldest := 0
	if c.SlidingWindow > 0 {
		oldest = max(0, tokens-c.SlidingWindow)
	}
	weights := make([][]float64, c.Heads)
	for h := range weights {
		weights[h] = make([]float64, tokens)
		q := rotated(query[h*c.HeadDim:(h+1)*c.HeadDim], tokens-1)
		at := h / (c.Heads / c.KVHeads) * c.HeadDim
		top := math.Inf(-1)
		for p := oldest; p < tokens; p++ {
			k := rotated(keys[p*width+at:p*width+at+c.HeadDim], p)
			var dot float64
			for d := range q {
				dot += q[d] * k[d]
			}
			weights[h][p] = dot / math.Sqrt(float64(c.HeadDim))
			top = max(top, weights[h][p])
		}
		var total float64
		for p := oldest; p < tokens; p++ {
			weights[h][p] = math.Exp(weights[h][p] - top)
			total += weights[h][p]
		}
		for p := oldest; p < tokens; p++ {
			weights[h][p] /= total
		}
	}
	return weights
}
