package inspect

import (
	"math"
	"slices"

	"phi3/internal/model"
)

// attention collects the queries and keys of a text, step after step, and computes attention weights from
// them, in float64. It cannot read the weights from a backend, because a backend never has all of them in
// memory.
type attention struct {
	config *model.Config
	layers []int       // from 1
	query  [][]float32 // of each layer: [heads·headDim], of the last token so far
	keys   [][]float32 // of each layer: [tokens so far, kvHeads·headDim]
	// RoPE's cosines and sines of all positions so far: [tokens, RoPE.Dim/2].
	cos, sin []float32
	qkv      []float32 // scratch
}

// see keeps what a step adds to a layer.
func (a *attention) see(w *watcher, layer int, qkv model.Matrix) (err error) {
	if a.query == nil {
		a.query, a.keys = make([][]float32, len(a.layers)), make([][]float32, len(a.layers))
	}
	if layer == 1 {
		a.cos, a.sin = append(a.cos, w.step.Cos...), append(a.sin, w.step.Sin...)
	}
	if !slices.Contains(a.layers, layer) {
		return nil
	}
	if a.qkv, err = w.read(a.qkv, qkv); err != nil {
		return err
	}
	queries, keys := a.config.Heads*a.config.HeadDim, a.config.KVHeads*a.config.HeadDim
	for i, l := range a.layers {
		if l != layer {
			continue
		}
		for row := range slices.Chunk(a.qkv, qkv.Cols) {
			a.keys[i] = append(a.keys[i], row[queries:queries+keys]...)
			a.query[i] = append(a.query[i][:0], row[:queries]...)
		}
	}
	return nil
}

// weights are [layers][heads][tokens].
func (a *attention) weights() [][][]float64 {
	var weights [][][]float64
	for i := range a.query {
		weights = append(weights, a.layerWeights(a.query[i], a.keys[i]))
	}
	return weights
}

// layerWeights returns, for every query head, the softmax(q·kᵀ/√headDim) of the last position over all
// positions: [heads][tokens], where each row sums to 1 (spec 3.1; 3.4 for the sliding window).
func (a *attention) layerWeights(query, keys []float32) [][]float64 {
	c := a.config
	width := c.KVHeads * c.HeadDim
	tokens := len(keys) / width
	oldest := 0
	if c.SlidingWindow > 0 {
		oldest = max(0, tokens-c.SlidingWindow)
	}
	weights := make([][]float64, c.Heads)
	for h := range weights {
		weights[h] = make([]float64, tokens)
		q := a.rotated(query[h*c.HeadDim:(h+1)*c.HeadDim], tokens-1)
		at := h / (c.Heads / c.KVHeads) * c.HeadDim
		for p := oldest; p < tokens; p++ {
			k := a.rotated(keys[p*width+at:p*width+at+c.HeadDim], p)
			var dot float64
			for d := range q {
				dot += q[d] * k[d]
			}
			weights[h][p] = dot / math.Sqrt(float64(c.HeadDim))
		}
		softmax(weights[h][oldest:])
	}
	return weights
}

// rotated is a head of a query or a key [headDim] after RoPE at the position.
func (a *attention) rotated(head []float32, position int) []float64 {
	x := make([]float64, len(head))
	for d, v := range head {
		x[d] = float64(v)
	}
	half := a.config.RoPE.Dim / 2
	for j := range half {
		cos, sin := float64(a.cos[position*half+j]), float64(a.sin[position*half+j])
		x[j], x[j+half] = x[j]*cos-x[j+half]*sin, x[j+half]*cos+x[j]*sin
	}
	return x
}

// softmax replaces scores by weights that sum to 1.
func softmax(scores []float64) {
	top, total := slices.Max(scores), 0.0
	for i, s := range scores {
		scores[i] = math.Exp(s - top)
		total += scores[i]
	}
	for i := range scores {
		scores[i] /= total
	}
}
