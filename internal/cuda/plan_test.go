package cuda

import (
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// planOf is the memory of a Phi-3-mini with 4,096 tokens of context and weights as the recipe has them, and
// the size of these weights.
func planOf(t *testing.T, recipe string) (m model.Memory, weights int64) {
	t.Helper()
	text, _, err := randomckpt.Preset("phi-3-mini")
	require.NoError(t, err)
	c, err := model.ParseConfig(text)
	require.NoError(t, err)
	var tensors []*weight.Tensor
	for _, spec := range c.Tensors() {
		tensors = append(tensors, &weight.Tensor{Name: spec.Name, Format: weight.BF16, Shape: spec.Shape})
	}
	if recipe != "" {
		r, err := quantize.Parse(recipe)
		require.NoError(t, err)
		tensors, err = c.Quantized(tensors, r)
		require.NoError(t, err)
	}
	for _, tensor := range tensors {
		weights += tensor.Bytes()
	}
	plan := model.NewPlan(c, tensors, model.Options{Context: 4096, MaxTokens: MaxTokens})
	return PlanMemory(plan, Options{}), weights
}

// A card of 8 GB has room for a Phi-3-mini with 4,096 tokens of context if its weights are Q8_0, and not if
// they are bfloat16. Weights take the bytes of the file and at most 4 % more, because scales of 6 bits become
// bytes, apart from norms, which are float32, and from pages that are not full.
func TestQuantizedWeightsOnSmallCards(t *testing.T) {
	const card = 8<<30 - 800<<20 // 800 MiB for the driver and a desktop
	bf16, _ := planOf(t, "")
	require.Greater(t, bf16.Total(), int64(card))
	for _, recipe := range quantize.Names() {
		m, weights := planOf(t, recipe)
		require.GreaterOrEqual(t, m.Weights, weights, recipe)
		require.Less(t, m.Weights, weights*104/100+200<<20, recipe)
		require.Less(t, m.Total(), int64(card), recipe)
		t.Logf("%-7s weights %4d MB, all %4d MB", recipe, m.Weights/1e6, m.Total()/1e6)
	}
}
