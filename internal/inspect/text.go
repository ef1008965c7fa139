package inspect

import (
	"context"
	"errors"
	"iter"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// Text is a sequence of tokens to inspect, with a KV cache of its own.
type Text struct {
	model *model.Model
	ids   []int32
	cache *kvcache.Cache
}

// NewText prepares the inspection of ids. It computes nothing.
func NewText(m *model.Model, ids []int32) *Text {
	return &Text{model: m, ids: ids, cache: m.NewCache()}
}

// Close gives the cache's blocks back to the model.
func (t *Text) Close() { t.cache.Reset() }

func (t *Text) input() model.Input { return model.Input{IDs: t.ids, Cache: t.cache} }

// Look says what [Text.Look] returns besides the logits.
type Look struct {
	Hidden    bool  // the last hidden state of every token
	Attention []int // layers, counted from 1, whose attention weights to show
}

// View is the result of [Text.Look].
type View struct {
	Logits []float32 // [vocab] of the token after the text
	Hidden []float32 // [tokens, hidden] after the final norm, if asked for
	// Attention holds, for each layer of Look.Attention, the weights [heads][tokens] of the last position.
	Attention [][][]float64
}

// Look computes the whole text and returns what look asks for.
func (t *Text) Look(ctx context.Context, look Look) (View, error) {
	t.cache.Reset()
	var seen []*Attention
	for _, layer := range look.Attention {
		seen = append(seen, NewAttention(&t.model.Config, layer, len(t.ids)-1, len(t.ids)))
	}
	if len(seen) > 0 {
		defer watchAttention(t.model, seen)()
	}
	out := model.Output{AllHidden: look.Hidden}
	if _, err := t.model.Feed(ctx, t.input(), &out); err != nil {
		return View{}, err
	}
	v := View{Logits: out.Logits, Hidden: out.Hidden}
	for _, a := range seen {
		var heads [][]float64
		for head := range t.model.Config.Heads {
			err := a.Weights(ctx, head, func(_ int, weights []float64) { heads = append(heads, weights) })
			if err != nil {
				return View{}, err
			}
		}
		v.Attention = append(v.Attention, heads)
	}
	return v, CheckLogits(ctx, t.model, t.input(), out.Logits)
}

// AfterLayer is what [Text.Lens] yields for a layer.
type AfterLayer struct {
	Layer  int       // 0: the embeddings
	Logits []float32 // [vocab] of the token after the text, if the model ended here
}

// Lens yields the logits that the model would have if it ended after layer 0 (the embeddings), 1, 2, …. The
// last ones are the model's logits. An error ends the loop. After [Text.Look], Lens computes only the last
// token again.
func (t *Text) Lens(ctx context.Context) iter.Seq2[AfterLayer, error] {
	return func(yield func(AfterLayer, error) bool) {
		in := t.input()
		if last := len(t.ids) - 1; t.cache.Len() < last {
			in.End = last
			if _, err := t.model.Feed(ctx, in, nil); err != nil {
				yield(AfterLayer{}, err)
				return
			}
			in.End = 0
		}
		enough := false
		defer AfterLayers(t.model, func(layer int) error {
			logits, err := t.model.LensLogits(nil, false)
			if err == nil && !yield(AfterLayer{layer, logits}, nil) {
				enough, err = true, errEnough
			}
			return err
		})()
		if _, err := t.model.Feed(ctx, in, nil); err != nil && !enough {
			yield(AfterLayer{}, err)
		}
	}
}

// errEnough ends a pass whose caller wants to see no more.
var errEnough = errors.New("enough was seen")
