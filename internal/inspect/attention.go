package inspect

import (
	"context"
	"math"
	"slices"

	"phi3/internal/model"
)

// Attention collects the queries and keys of a layer of one text, step after step, and computes attention
// weights from them, in float64. It cannot read the weights from a backend, because a backend never has all
// of them in memory.
type Attention struct {
	config  *model.Config
	layer   int       // from 1
	from    int       // the first position whose weights are wanted
	queries []float32 // [tokens - from, heads·headDim]
	keys    []float32 // [tokens, kvHeads·headDim]
	// RoPE's cosines and sines of all positions: [tokens, RoPE.Dim/2].
	cos, sin []float32
	qkv      []float32 // scratch
}

// NewAttention prepares for the weights of a layer, counted from 1, at the positions from … tokens-1 of a
// text.
func NewAttention(c *model.Config, layer, from, tokens int) *Attention {
	half := tokens * c.RoPE.Dim / 2
	return &Attention{
		config: c, layer: layer, from: from,
		queries: make([]float32, (tokens-from)*c.Heads*c.HeadDim),
		keys:    make([]float32, tokens*c.KVHeads*c.HeadDim),
		cos:     make([]float32, half), sin: make([]float32, half),
	}
}

// Watch collects what the model computes until stop is called: steps of the text, and of nothing else. Every
// position must be computed at least once.
func (a *Attention) Watch(m *model.Model) (stop func()) { return watchAttention(m, []*Attention{a}) }

func watchAttention(m *model.Model, all []*Attention) (stop func()) {
	w := &watcher{}
	w.attend = func(layer int, qkv model.Matrix) error {
		for _, a := range all {
			if a.layer != layer {
				continue
			}
			if err := a.see(w, qkv); err != nil {
				return err
			}
		}
		return nil
	}
	return watch(m, w)
}

// see keeps what a step adds to the layer.
func (a *Attention) see(w *watcher, qkv model.Matrix) (err error) {
	if a.qkv, err = w.read(a.qkv, qkv); err != nil {
		return err
	}
	first, half := w.step.Seqs[0].Position, a.config.RoPE.Dim/2
	copy(a.cos[first*half:], w.step.Cos)
	copy(a.sin[first*half:], w.step.Sin)
	queries, keys := a.config.Heads*a.config.HeadDim, a.config.KVHeads*a.config.HeadDim
	for i := range qkv.Rows {
		row, position := a.qkv[i*qkv.Cols:(i+1)*qkv.Cols], first+i
		copy(a.keys[position*keys:], row[queries:queries+keys])
		if position >= a.from {
			copy(a.queries[(position-a.from)*queries:], row[:queries])
		}
	}
	return nil
}

// keyPiece is the number of keys between two looks at a context.
const keyPiece = 1024

// Weights computes, for a query head, counted from 0, the softmax(q·kᵀ/√headDim) of each wanted position over
// all positions up to itself (spec 3.1; 3.4 for the sliding window). It hands them to each, one position
// after another: [position+1], with a sum of 1. Several goroutines may compute the weights of several heads.
// Weights stops when ctx is done.
func (a *Attention) Weights(ctx context.Context, head int, each func(position int, weights []float64)) error {
	c := a.config
	queryWidth, keyWidth := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	tokens := len(a.keys) / keyWidth
	var queries, weights [][]float64
	for p := a.from; p < tokens; p++ {
		q := a.queries[(p-a.from)*queryWidth+head*c.HeadDim:]
		queries = append(queries, a.rotate(make([]float64, c.HeadDim), q, p))
		weights = append(weights, make([]float64, p+1))
	}
	at := head / (c.Heads / c.KVHeads) * c.HeadDim
	key := make([]float64, c.HeadDim)
	// A key is rotated once for all queries.
	for p := oldest(c, a.from); p < tokens; p++ {
		if p%keyPiece == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		a.rotate(key, a.keys[p*keyWidth+at:], p)
		for i := max(0, p-a.from); i < len(queries) && p >= oldest(c, a.from+i); i++ {
			var dot float64
			for d, q := range queries[i] {
				dot += q * key[d]
			}
			weights[i][p] = dot / math.Sqrt(float64(c.HeadDim))
		}
	}
	for i, row := range weights {
		softmax(row[oldest(c, a.from+i):])
		each(a.from+i, row)
	}
	return nil
}

// oldest is the first position that a query sees.
func oldest(c *model.Config, position int) int {
	if c.SlidingWindow > 0 {
		return max(0, position+1-c.SlidingWindow)
	}
	return 0
}

// rotate sets x to a head of a query or a key [headDim] after RoPE at the position.
func (a *Attention) rotate(x []float64, head []float32, position int) []float64 {
	for d := range x {
		x[d] = float64(head[d])
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
