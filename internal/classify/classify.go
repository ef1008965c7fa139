// Package classify reads labels off a model with a classification head: a text's ids go in, the head's logits
// come out, and [Scores] makes of them what transformers' pipelines show (spec section 6).
package classify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"phi3/internal/inspect"
	"phi3/internal/model"
)

// Logits returns the logits of the labels: one row [labels] for the whole text where the model has a
// [model.SequenceHead], one row for every token where it has a [model.TokenHead]. ids must not be empty.
func Logits(ctx context.Context, m *model.Model, ids []int32) ([][]float32, error) {
	c := &m.Config
	switch {
	case c.Head == model.LMHead:
		return nil, fmt.Errorf("a %s has no labels", c.Head)
	case len(ids) == 0:
		return nil, errors.New("the text is empty")
	case len(ids) > m.Context:
		return nil, &model.TooLongError{Text: "text", Tokens: len(ids), Context: m.Context}
	}
	end := len(ids)
	if c.Head == model.SequenceHead {
		end = c.PooledPosition(ids) + 1
	}
	cache := m.NewCache()
	defer cache.Reset()
	out := model.Output{AllLogits: c.Head == model.TokenHead}
	// IDs holds the padding after the pooled position too: its length decides the factors of long RoPE.
	in := model.Input{IDs: ids, Cache: cache, End: end}
	if _, err := m.Feed(ctx, in, &out); err != nil {
		return nil, err
	}
	if i := inspect.FirstNotFinite(out.Logits); i >= 0 {
		label := c.Labels[i%len(c.Labels)]
		return nil, inspect.NotFinite(ctx, m, in, fmt.Sprintf("label %q", label))
	}
	return slices.Collect(slices.Chunk(out.Logits, len(c.Labels))), nil
}

// Scores are what transformers' pipelines make of a row of logits [labels]: probabilities that sum to 1, and
// for a text one probability for each label by itself where several may apply or there is only one, or the
// logits themselves for a regression.
func Scores(c *model.Config, logits []float32) []float64 {
	scores := make([]float64, len(logits))
	for i, l := range logits {
		scores[i] = float64(l)
	}
	if c.Head == model.SequenceHead {
		switch {
		case c.ProblemType == "regression":
			return scores
		case c.ProblemType == "multi_label_classification" || len(logits) == 1:
			for i, l := range scores {
				scores[i] = 1 / (1 + math.Exp(-l))
			}
			return scores
		}
	}
	top, total := slices.Max(scores), 0.0
	for i, l := range scores {
		scores[i] = math.Exp(l - top)
		total += scores[i]
	}
	for i := range scores {
		scores[i] /= total
	}
	return scores
}
