// Package classify labels texts, or their tokens, with a model that has a classification head (spec section
// 6). [Logits] computes the head's logits, [Scores] turns them into the scores of transformers' pipelines,
// and a [Classifier] does both for a text. [Lines] reads a file of texts.
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

// Logits returns the logits of the labels: one row [labels] for the whole text if the model has a
// [model.SequenceHead], one row for each token if it has a [model.TokenHead]. ids must not be empty.
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

// Scores returns the scores that transformers' pipelines compute from a row of logits [labels]:
//
//   - of a token: probabilities that sum to 1
//   - of a text: the same; if several labels may apply, or if there is only one, a probability of each label
//     by itself; for a regression, the logits
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
