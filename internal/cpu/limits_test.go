package cpu

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// For any shapes of a configuration, the memory that the backend allocates besides the weights is in
// proportion to the weights. The shapes here are as unusual as a configuration allows.
func TestWorkspaceIsInProportion(t *testing.T) { onEveryPath(t, testWorkspaceIsInProportion) }

func testWorkspaceIsInProportion(t *testing.T) {
	shape := func(hidden, heads, kvHeads, headDim, intermediate int) string {
		return fmt.Sprintf(`"hidden_size": %d, "num_attention_heads": %d, "num_key_value_heads": %d, `+
			`"head_dim": %d, "intermediate_size": %d`, hidden, heads, kvHeads, headDim, intermediate)
	}
	for name, config := range map[string]string{
		"wide MLP":         shape(512, 1, 1, 8, 1048576),
		"wider MLP":        shape(32, 1, 1, 8, 65536),
		"widest MLP":       shape(8, 1, 1, 8, 16384),
		"large vocabulary": shape(8, 1, 1, 8, 8) + `, "vocab_size": 1048576, "tie_word_embeddings": true`,
		"many heads":       shape(128, 65536, 1, 2, 8),
		"many wide heads":  shape(512, 512, 1, 1024, 8),
		"many KV heads":    shape(512, 65536, 65536, 2, 8),
		"hidden":           shape(131072, 1, 1, 8, 8),
		"one wide head":    shape(8, 1, 1, 1024, 8),
	} {
		c, err := model.ParseConfig([]byte(
			`{"model_type": "phi3", "num_hidden_layers": 1, "max_position_embeddings": 16777216, ` +
				config + `}`))
		require.NoError(t, err, name)
		var tensors []*weight.Tensor
		for _, spec := range c.Tensors() {
			tensors = append(tensors, &weight.Tensor{Name: spec.Name, Shape: spec.Shape, Format: weight.BF16})
		}
		const threads = 2
		maxTokens, err := MaxTokens()
		require.NoError(t, err)
		plan := model.NewPlan(c, tensors, model.Options{MaxTokens: maxTokens})
		m := PlanMemory(plan, Options{Threads: threads})
		t.Logf("%-17s weights %12d, workspace %12d, %.1f times", name, m.Weights, m.Workspace,
			float64(m.Workspace)/float64(m.Weights))
		require.Less(t, m.Workspace, int64(64<<20)+16*m.Weights, name)
	}
}
