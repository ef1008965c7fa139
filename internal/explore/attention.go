package explore

import (
	"context"
	"errors"
	"slices"

	"phi3/internal/engine"
	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/openai"
)

// AttentionRequest is the body of POST /explore/attention.
type AttentionRequest struct {
	IDs   []int32 `json:"ids"`
	Layer int     `json:"layer"` // from 1
	From  int     `json:"from"`  // the first position to show; 0: all, but at most the last MaxPositions
}

// Attention is the response: where the heads of a layer look.
type Attention struct {
	Layer int             `json:"layer"`
	From  int             `json:"from"`
	Heads []AttentionHead `json:"heads"`
}

// AttentionHead is the attention of a head.
type AttentionHead struct {
	Head int `json:"head"` // from 1
	// of each position from From on: the weights of positions From … itself. Their sum is 1, less what the
	// position takes from positions before From.
	Weights  [][]float64 `json:"weights"`
	Measures Measures    `json:"measures"`
	Label    string      `json:"label"` // the measure that is highest, if it is 0.4 or more; see label
}

// Measures are mean weights over the positions that are shown, without position 0, which can look only at
// itself. All positions of the text count, also those before From. Where no position but 0 is shown, the
// measures are 0.
type Measures struct {
	First    float64 `json:"first"`    // to position 0
	Previous float64 `json:"previous"` // to the position before
	Itself   float64 `json:"itself"`
	// to all earlier positions with the same token, and to the positions after those, but not to itself
	// ("induction"): means over the positions whose token has occurred before; null if there is none
	Same  *float64 `json:"same"`
	After *float64 `json:"after_same"`
}

// Bounds on the memory of attentions. One has the keys of its text, and for each head that is being computed
// the weights of all positions that are shown to all positions of the text.
const (
	mostAttentions = 2         // that are computed at once; others wait
	weightBytes    = 256 << 20 // of the weights of an attention
)

// headsAtOnce is how many heads are computed at once, of which each has the weights of so many positions.
func headsAtOnce(positions, tokens int) int { return max(1, weightBytes/(8*positions*tokens)) }

// clearMeasure is the least measure that makes a label.
const clearMeasure = 0.4

// label names the highest measure: first, previous, itself, same token, or after same token. Of equal ones it
// names the earliest in this list. Below 0.4 it is "".
func (m *Measures) label() (name string) {
	highest := 0.0
	for _, measure := range []struct {
		name  string
		value *float64
	}{
		{"first", &m.First},
		{"previous", &m.Previous},
		{"itself", &m.Itself},
		{"same token", m.Same},
		{"after same token", m.After},
	} {
		if v := measure.value; v != nil && *v >= clearMeasure && *v > highest {
			name, highest = measure.name, *v
		}
	}
	return name
}

// Attention computes the attention weights of a layer.
func (e *Explorer) Attention(ctx context.Context, body []byte) (any, error) {
	r, err := e.parseAttention(body)
	if err != nil {
		return nil, err
	}
	leave, err := enter(ctx, e.attentions)
	if err != nil {
		return nil, err
	}
	defer leave()
	// The keys before From are needed too.
	seen := inspect.NewAttention(e.Config, r.Layer, r.From, len(r.IDs))
	request := engine.Request{IDs: r.IDs, MaxNewTokens: 1, Watch: &engine.Watch{
		Begin: func(m *model.Model, _ int) (stop func()) { return seen.Watch(m) },
	}}
	for _, err := range e.Engine.Generate(ctx, request) {
		if err != nil {
			return nil, openai.AsError(err)
		}
	}
	a := Attention{Layer: r.Layer, From: r.From, Heads: make([]AttentionHead, e.Config.Heads)}
	same := earlier(r.IDs, r.From)
	failed := make([]error, len(a.Heads))
	parallel(len(a.Heads), headsAtOnce(len(r.IDs)-r.From, len(r.IDs)), func(i int) {
		h := &a.Heads[i]
		h.Head = i + 1
		m := measuring{same: same, from: r.From}
		failed[i] = seen.Weights(ctx, i, func(position int, weights []float64) {
			m.add(position, weights)
			h.Weights = append(h.Weights, slices.Clone(weights[r.From:]))
		})
		h.Measures = m.means()
		h.Label = h.Measures.label()
	})
	if err := errors.Join(failed...); err != nil {
		return nil, openai.AsError(err)
	}
	return a, nil
}

// earlier returns, for each position from … of a text, the positions before it with the same token, in
// ascending order.
func earlier(ids []int32, from int) [][]int {
	all := make([][]int, len(ids)-from)
	seen := map[int32][]int{}
	for p, id := range ids {
		if p >= from {
			all[p-from] = seen[id]
		}
		seen[id] = append(seen[id], p)
	}
	return all
}

// measuring adds up the measures of a head.
type measuring struct {
	from           int
	same           [][]int // see earlier
	sum            Measures
	sameSum        float64
	afterSum       float64
	count, repeats int // positions; those whose token has occurred before
}

// add adds a position with its weights [position+1].
func (m *measuring) add(position int, weights []float64) {
	if position == 0 {
		return
	}
	m.count++
	m.sum.First += weights[0]
	m.sum.Previous += weights[position-1]
	m.sum.Itself += weights[position]
	before := m.same[position-m.from]
	if len(before) == 0 {
		return
	}
	m.repeats++
	for _, p := range before {
		m.sameSum += weights[p]
		if p+1 < position {
			m.afterSum += weights[p+1]
		}
	}
}

// means are the measures so far.
func (m *measuring) means() Measures {
	n, repeats := float64(max(1, m.count)), float64(m.repeats)
	means := Measures{First: m.sum.First / n, Previous: m.sum.Previous / n, Itself: m.sum.Itself / n}
	if m.repeats > 0 {
		means.Same, means.After = new(m.sameSum/repeats), new(m.afterSum/repeats)
	}
	return means
}
