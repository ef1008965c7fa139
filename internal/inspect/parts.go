package inspect

import (
	"math"

	"phi3/internal/model"
)

// Parts collects what each part of the model adds to the residual stream of the last token of a step: direct
// logit attribution.
type Parts struct {
	// [1 + 2·layers][hidden]: the stream of the embeddings, and after the attention and the MLP of each layer
	stream [][]float32
}

// Watch collects until stop is called. Only what the last step of one sequence computes is kept.
func (p *Parts) Watch(m *model.Model) (stop func()) {
	p.stream = p.stream[:0]
	return watch(m, &watcher{added: func() error {
		x, err := m.LastRows()
		if len(p.stream) > 2*m.Config.Layers { // a step after the first one
			p.stream = p.stream[:0]
		}
		p.stream = append(p.stream, x)
		return err
	}})
}

// Logit returns what the parts add to a logit [1 + 2·layers], given its [model.Model.HeadDirection] and the
// model's RMSNormEps: the embedding, the attention of layer 1, the MLP of layer 1, the attention of layer 2,
// ….
//
// The final norm is linear but for its scale, which is taken as it is after the last layer. So the sum of the
// parts is the logit, up to the rounding of the device.
func (p *Parts) Logit(direction []float64, eps float32) []float64 {
	last, square := p.stream[len(p.stream)-1], 0.0
	for _, x := range last {
		square += float64(x) * float64(x)
	}
	scale := 1 / math.Sqrt(square/float64(len(last))+float64(eps))
	before := make([]float32, len(last))
	parts := make([]float64, len(p.stream))
	for i, after := range p.stream {
		for d, x := range after {
			parts[i] += (float64(x) - float64(before[d])) * direction[d]
		}
		parts[i] *= scale
		before = after
	}
	return parts
}
