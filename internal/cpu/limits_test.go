package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// Whatever shapes a configuration has, what they make the backend allocate besides the weights stays in
// proportion to the weights. The shapes are lopsided as far as a configuration may be.
func TestWorkspaceIsInProportion(t *testing.T) { onEveryPath(t, testWorkspaceIsInProportion) }

func testWorkspaceIsInProportion(t *testing.T) {
	for name, config := range map[string]string{
		"wide MLP":         `"hidden_size": 512, "num_attention_heads": 1, "head_dim": 8, "intermediate_size": 1048576`,
		"wider MLP":        `"hidden_size": 32, "num_attention_heads": 1, "head_dim": 8, "intermediate_size": 65536`,
		"widest MLP":       `"hidden_size": 8, "num_attention_heads": 1, "head_dim": 8, "intermediate_size": 16384`,
		"large vocabulary": `"hidden_size": 8, "num_attention_heads": 1, "head_dim": 8, "intermediate_size": 8, "vocab_size": 1048576, "tie_word_embeddings": true`,
		"many heads":       `"hidden_size": 128, "num_attention_heads": 65536, "num_key_value_heads": 1, "head_dim": 2, "intermediate_size": 8`,
		"many wide heads":  `"hidden_size": 512, "num_attention_heads": 512, "num_key_value_heads": 1, "head_dim": 1024, "intermediate_size": 8`,
		"many KV heads":    `"hidden_size": 512, "num_attention_heads": 65536, "head_dim": 2, "intermediate_size": 8`,
		"hidden":           `"hidden_size": 131072, "num_attention_heads": 1, "head_dim": 8, "intermediate_size": 8`,
		"one wide head":    `"hidden_size": 8, "num_attention_heads": 1, "head_dim": 1024, "intermediate_size": 8`,
	} {
		c, err := model.ParseConfig([]byte(`{"model_type": "phi3", "num_hidden_layers": 1, "max_position_embeddings": 16777216, ` + config + `}`))
		require.NoError(t, err, name)
		var tensors []*weight.Tensor
		for _, spec := range c.Tensors() {
			tensors = append(tensors, &weight.Tensor{
				Name: spec.Name, Shape: spec.Shape,
				Format: weight.BF16,
			})
		}
		const threads = 2
		maxTokens, err := MaxTokens()
		require.NoError(t, err)
		m := PlanMemory(model.NewPlan(c, tensors, model.Options{MaxTokens: maxTokens}), Options{Threads: threads})
		t.Logf("%-17s weights %12d, workspace %12d, %.1f times", name, m.Weights, m.Workspace,
			float64(m.Workspace)/float64(m.Weights))
		require.Less(t, m.Workspace, int64(64<<20)+16*m.Weights, name)
	}
}
