package cuda

import (
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// miniTensors is the configuration and the tensors of a Phi-3-mini.
func miniTensors(t *testing.T) (c *model.Config, tensors []*weight.Tensor) {
	t.Helper()
	text, _, err := randomckpt.Preset("phi-3-mini")
	require.NoError(t, err)
	c, err = model.ParseConfig(text)
	require.NoError(t, err)
	for _, spec := range c.Tensors() {
		tensors = append(tensors, &weight.Tensor{Name: spec.Name, Format: weight.BF16, Shape: spec.Shape})
	}
	return c, tensors
}

// planOf is the memory of a Phi-3-mini with 4,096 tokens of context and weights as the recipe has them, and
// the size of these weights.
func planOf(t *testing.T, recipe string) (m model.Memory, weights int64) {
	t.Helper()
	c, tensors := miniTensors(t)
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

// A plan for several sequences has blocks for all contexts, or for as many as fit, but at least for one. Then
// the block tables have more entries than there are blocks.
func TestPlanOfSequences(t *testing.T) {
	const context, sequences = 4096, 16
	const blocks = context / kvcache.BlockTokens
	c, tensors := miniTensors(t)
	plan := func(context, sequences int) *model.Plan {
		return model.NewPlan(c, tensors,
			model.Options{Context: context, MaxTokens: MaxTokens, Sequences: sequences})
	}
	one, all := PlanMemory(plan(context, 1), Options{}), PlanMemory(plan(context, sequences), Options{})
	require.Equal(t, PlanMemory(plan(context, 0), Options{}), one)
	require.Equal(t, sequences*one.KV, all.KV)
	// graphs of each number of sequences, and what decode computes for each block
	graphs := graphBytes(plan(context, sequences))
	require.Greater(t, all.Workspace, one.Workspace+graphs)
	require.Less(t, all.Workspace, one.Workspace+graphs+all.KV/400)

	p := plan(context, sequences)
	require.NoError(t, Fit(p, Options{}, 2*all.Total()))
	require.Equal(t, []int{sequences * blocks, sequences * blocks}, []int{p.Blocks(), p.TableBlocks()})
	p = plan(context, sequences)
	require.NoError(t, Fit(p, Options{}, all.Total()-all.KV/2))
	require.Less(t, p.Blocks(), sequences*blocks/2)
	require.Greater(t, p.Blocks(), sequences*blocks/3)
	require.Equal(t, []int{context, sequences * blocks}, []int{p.Context, p.TableBlocks()})

	p = plan(context, sequences)
	p.Limit(blocks)
	least := PlanMemory(p, Options{})
	require.NoError(t, Fit(plan(context, sequences), Options{}, least.Total()))
	var tooLittle *TooLittleError
	free := least.Total() - least.KV/3
	require.ErrorAs(t, Fit(plan(context, sequences), Options{}, free), &tooLittle)
	require.Equal(t, TooLittleError{least, context, free, tooLittle.Fits}, *tooLittle)
	require.Greater(t, tooLittle.Fits, context/2)
	require.NoError(t, Fit(plan(tooLittle.Fits, sequences), Options{}, free))
	require.Error(t, Fit(plan(tooLittle.Fits+kvcache.BlockTokens, sequences), Options{}, free))
}
