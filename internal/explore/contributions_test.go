package explore

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/nexttoken"
)

// Direct logit attribution adds up to the logit. The model rounds the head's inputs to bfloat16, and adds in
// float32.
func TestContributions(t *testing.T) {
	for _, tokens := range []int{1, 20, 300} {
		ids := someIDs(tokens)
		var all []Contribution
		e := newParser(t)
		t.Run("contributions", func(t *testing.T) {
			e := newExplorer(t, engine.Options{Parallel: 2})
			value, err := e.Contributions(t.Context(), body(t, ContributionsRequest{ids, []int32{0, 7, 2559, 7}}))
			require.NoError(t, err)
			all = value.(Contributions).Tokens
		})
		report := reportOf(t, e, ids, nexttoken.Options{Top: 1})
		require.Len(t, all, 4)
		require.Equal(t, all[1], all[3])
		for _, c := range all {
			require.Equal(t, e.Codec.Tokenizer.Token(c.ID), c.Token)
			require.Equal(t, report.Logits[c.ID], c.Logit)
			require.Len(t, c.Attention, 4)
			require.Len(t, c.MLP, 4)
			sum, size := c.Embedding, math.Abs(c.Embedding)
			for i := range c.Attention {
				sum += c.Attention[i] + c.MLP[i]
				size += math.Abs(c.Attention[i]) + math.Abs(c.MLP[i])
			}
			require.InDelta(t, sum, c.Sum, 1e-9)
			require.Greater(t, size, 0.1)
			require.InDelta(t, float64(c.Logit), c.Sum, 0.02*size)
		}
	}
}
