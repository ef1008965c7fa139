package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/info"
)

// info describes the published configurations correctly: parameters, bytes, heads, RoPE.
func TestInfoOfPublishedConfigs(t *testing.T) {
	const data = "../../../shared/phi3-data"
	text, err := os.ReadFile(filepath.Join(data, "variants.json"))
	if err != nil {
		t.Skip("the published configurations are not here")
	}
	var table struct {
		Variants []struct {
			Name            string
			Parameters      int64
			TensorBytes     int64   `json:"tensor_bytes"`
			TensorCount     int     `json:"tensor_count"`
			HeadDim         int     `json:"head_dim"`
			RotaryDim       int     `json:"rotary_dim"`
			AttentionFactor float64 `json:"attention_factor"`
			MaxPositions    int     `json:"max_position_embeddings"`
			SlidingWindow   *int    `json:"sliding_window"`
			EOS             []int32 `json:"generation_eos_token_ids"`
		}
	}
	require.NoError(t, json.Unmarshal(text, &table))
	described := 0
	for _, v := range table.Variants {
		name, release, _ := strings.Cut(strings.TrimPrefix(v.Name, "microsoft/"), " ")
		dir := filepath.Join(data, name)
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil || release == "(Jun/Jul 2024)" {
			continue // only the April release is here
		}
		described++
		var out bytes.Buffer
		require.Zero(t, Main([]string{"info", "--model", dir, "--json"}, strings.NewReader(""), &out,
			io.Discard), v.Name)
		var i info.Checkpoint
		require.NoError(t, json.Unmarshal(out.Bytes(), &i))
		require.Equal(t, "Phi3ForCausalLM", i.Architecture)
		require.Equal(t, v.Parameters, i.Parameters, v.Name)
		require.Equal(t, v.TensorBytes, i.WeightBytes, v.Name)
		require.Len(t, i.Tensors, v.TensorCount, v.Name)
		require.Equal(t, v.HeadDim, i.HeadDim, v.Name)
		require.Equal(t, v.RotaryDim, i.RoPE.Dim, v.Name)
		require.InDelta(t, v.AttentionFactor, i.RoPE.AttentionFactor, 1e-12, v.Name)
		require.Equal(t, v.MaxPositions, i.MaxPositions, v.Name)
		require.Equal(t, v.SlidingWindow, i.SlidingWindow, v.Name)
		if _, err := os.Stat(filepath.Join(dir, "generation_config.json")); err == nil {
			var eos []int32
			for _, e := range i.EOS {
				eos = append(eos, e.ID)
			}
			require.ElementsMatch(t, v.EOS, eos, v.Name)
		}
		require.NotEmpty(t, i.Missing)
		for _, d := range i.Memory.Devices {
			require.Empty(t, d.Refused, v.Name)
			require.Equal(t, i.Memory.KVPerToken*int64(v.MaxPositions), d.KV, v.Name)
		}
	}
	require.Equal(t, 6, described)
}
