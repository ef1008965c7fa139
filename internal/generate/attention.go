package generate

import "phi3/internal/model"

// attentionWatch collects what a model's layers compute of attention while a sequence is fed to it, step
// after step.
type attentionWatch struct {
	model  *model.Model
	layers []int
	query  [][]float32 // of each layer: [heads·headDim], of the last token so far
	keys   [][]float32 // of each layer: [tokens so far, kvHeads·headDim]
}

func newAttentionWatch(m *model.Model, layers []int) *attentionWatch {
	return &attentionWatch{
		model: m, layers: layers, query: make([][]float32, len(layers)),
		keys: make([][]float32, len(layers)),
	}
}

// see is [model.Output] EachQKV.
func (w *attentionWatch) see(layer int, qkv []float32) {
	c := &w.model.Config
	queries, width := c.Heads*c.HeadDim, c.QKVRows()
	for i, l := range w.layers {
		if l != layer {
			continue
		}
		for at := 0; at < len(qkv); at += width {
			w.keys[i] = append(w.keys[i], qkv[at+queries:at+queries+c.KVHeads*c.HeadDim]...)
		}
		w.query[i] = append(w.query[i][:0], qkv[len(qkv)-width:len(qkv)-width+queries]...)
	}
}

// weights are [layers][heads][tokens].
func (w *attentionWatch) weights() [][][]float64 {
	var weights [][][]float64
	for i := range w.layers {
		weights = append(weights, w.model.AttentionWeights(w.query[i], w.keys[i]))
	}
	return weights
}
