package model

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// fileSystem holds the given files, name and content in turn.
func fileSystem(nameAndContent ...string) fs.FS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(nameAndContent); i += 2 {
		fsys[nameAndContent[i]] = &fstest.MapFile{Data: []byte(nameAndContent[i+1])}
	}
	return fsys
}

// minimal is the least that a config.json must say.
const minimal = `"architectures": ["Phi3ForCausalLM"]`

func TestConfigDefaults(t *testing.T) {
	c, err := ReadConfig(fileSystem("config.json", "{"+minimal+"}"))
	require.NoError(t, err)
	require.Equal(t, &Config{
		VocabSize: 32064, HiddenSize: 3072, IntermediateSize: 8192, Layers: 32, Heads: 32, KVHeads: 32, HeadDim: 96,
		RMSNormEps: 1e-5, MaxPositions: 4096, BOS: 1, EOS: []int32{32000}, Pad: 32000,
		RoPE: RoPEConfig{Theta: 10000, Dim: 96, OriginalMax: 4096, AttentionFactor: 1},
	}, c)
	require.Equal(t, 9216, c.QKVRows())
	require.Zero(t, c.Crossing())
	require.EqualValues(t, 393216, c.KVBytesPerToken(2))
}

func TestConfigSpellings(t *testing.T) {
	scaling := `"type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4]`
	size := minimal + `, "hidden_size": 8, "num_attention_heads": 2, "max_position_embeddings": 64`
	want := RoPEConfig{
		Theta: 50000, Dim: 4, ShortFactor: []float32{1, 2}, LongFactor: []float32{3, 4}, OriginalMax: 16,
		AttentionFactor: math.Sqrt(1 + math.Log(4)/math.Log(16)),
	}
	for name, text := range map[string]string{
		"old":            size + `, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {` + scaling + `}`,
		"su":             size + `, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [3, 4]}`,
		"rope_type":      size + `, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"rope_type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4]}`,
		"one object":     size + `, "rope_parameters": {"rope_theta": 5e4, "original_max_position_embeddings": 16, ` + scaling + `}`,
		"top level wins": size + `, "original_max_position_embeddings": 16, "rope_parameters": {"rope_theta": 5e4, "original_max_position_embeddings": 32, ` + scaling + `}`,
	} {
		c, err := ReadConfig(fileSystem("config.json", "{"+text+"}"))
		require.NoError(t, err, name)
		require.Equal(t, want, c.RoPE, name)
		require.Equal(t, 16, c.Crossing(), name)
	}

	c, err := ReadConfig(fileSystem("config.json", "{"+minimal+`, "model_type": "phi3", "dtype": "float16", "eos_token_id": [5, 6], "pad_token_id": null, "unknown": {}}`,
		"generation_config.json", `{"eos_token_id": 7, "temperature": 0.5}`))
	require.NoError(t, err)
	require.Equal(t, "float16", c.DType)
	require.Equal(t, []int32{7}, c.EOS, "generation_config.json wins")
	require.EqualValues(t, -1, c.Pad)
}

func TestConfigRejections(t *testing.T) {
	with := func(more string) string { return "{" + minimal + ", " + more + "}" }
	for _, c := range []struct{ config, reason string }{
		{`{`, "config.json: unexpected end of JSON"},
		{`[]`, "config.json"},
		{`{}`, "neither architectures nor model_type"},
		{`{"architectures": ["LlamaForCausalLM"]}`, "LlamaForCausalLM"},
		{with(`"model_type": "phi"`), `model_type is "phi"`},
		{with(`"hidden_act": "gelu"`), `hidden_act is "gelu"`},
		{with(`"attention_bias": true`), "attention_bias"},
		{with(`"mlp_bias": true`), "mlp_bias"},
		{with(`"lm_head_bias": true`), "lm_head_bias"},
		{with(`"vocab_size": 0`), "vocab_size is 0"},
		{with(`"num_hidden_layers": -1`), "num_hidden_layers is -1"},
		{with(`"hidden_size": 99999999999`), "hidden_size is 99999999999"},
		{with(`"num_key_value_heads": 5`), "not a multiple of num_key_value_heads (5)"},
		{with(`"hidden_size": 3073`), "hidden_size (3073) is not a multiple"},
		{with(`"head_dim": 95`), "head dimension is 95"},
		{with(`"head_dim": 2048`), "head dimension is 2048, not an even number in 2 … 1024"},
		{with(`"hidden_size": 2, "num_attention_heads": 1`), "intermediate_size (8192) is more than 2048 times hidden_size (2)"},
		{with(`"hidden_size": 8, "num_attention_heads": 8192, "head_dim": 2`), "qkv_proj's rows (49152) is more than 2048 times hidden_size (8)"},
		{with(`"Hidden_Size": 4`), `the key "Hidden_Size" should be "hidden_size"`},
		{with(`"hidden_size": 4, "hidden_size": 8`), `has the key "hidden_size" twice`},
		{with(`"hidden_size": "4"`), `hidden_size is a string, not a whole number`},
		{with(`"rope_scaling": {"Type": "su"}`), `rope_scaling: the key "Type" should be "type"`},
		{"{" + minimal + ", \"x\": \"\xff\"}", "config.json: is not valid UTF-8"},
		{with(`"head_dim": 1024, "num_attention_heads": 16777216`), "make 51539607552 rows of qkv_proj"},
		{with(`"sliding_window": -2`), "sliding_window is -2"},
		{with(`"rms_norm_eps": 0`), "rms_norm_eps is 0"},
		{with(`"rope_theta": 0`), "rope_theta is 0"},
		{with(`"partial_rotary_factor": 0`), "partial_rotary_factor is 0"},
		{with(`"partial_rotary_factor": 0.01`), "partial_rotary_factor 0.01 of a head dimension of 96 rotates 0"},
		{with(`"rope_scaling": {"type": "linear", "factor": 2}`), `type "linear"`},
		{with(`"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}`), "short_factor has 1 numbers, not 48"},
		{with(`"hidden_size": 8, "num_attention_heads": 2, "rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, -1]}`), "long_factor[1] is -1"},
		{with(`"hidden_size": 8, "num_attention_heads": 2, "original_max_position_embeddings": 0, "rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, 1]}`), "original_max_position_embeddings is 0"},
		{with(`"hidden_size": 8, "num_attention_heads": 2, "rope_scaling": {"type": "su", "attention_factor": -1, "short_factor": [1, 1], "long_factor": [1, 1]}`), "attention factor of -1"},
		{with(`"eos_token_id": "x"`), `eos_token_id: "x" is neither`},
	} {
		_, err := ReadConfig(fileSystem("config.json", c.config))
		require.ErrorContains(t, err, c.reason, c.config)
	}
	_, err := ReadConfig(fileSystem())
	require.ErrorContains(t, err, "config.json")
	_, err = ReadConfig(fileSystem("config.json", "{"+minimal+"}", "generation_config.json", `{"eos_token_id": [1.5]}`))
	require.ErrorContains(t, err, "generation_config.json: eos_token_id")
}

// Every number of the spec's table of checkpoints, read from the real files.
func TestRealConfigs(t *testing.T) {
	dir := "../../../shared/phi3-data"
	data, err := os.ReadFile(filepath.Join(dir, "variants.json"))
	if err != nil {
		t.Skip("the real configuration files are not beside the project:", err)
	}
	var table struct {
		Variants []struct {
			Name         string
			Heads        int     `json:"num_attention_heads"`
			KVHeads      int     `json:"num_key_value_heads"`
			HeadDim      int     `json:"head_dim"`
			RotaryDim    int     `json:"rotary_dim"`
			Factor       float64 `json:"attention_factor"`
			Window       *int    `json:"sliding_window"`
			Tied         bool    `json:"tie_word_embeddings"`
			Theta        float64 `json:"rope_theta"`
			Layers       int     `json:"num_hidden_layers"`
			Vocab        int     `json:"vocab_size"`
			Intermediate int     `json:"intermediate_size"`
		}
	}
	require.NoError(t, json.Unmarshal(data, &table))
	checked := 0
	for _, v := range table.Variants {
		folder := filepath.Join(dir, filepath.Base(v.Name))
		if _, err := os.Stat(filepath.Join(folder, "config.json")); err != nil {
			continue
		}
		c, err := ReadConfig(os.DirFS(folder))
		require.NoError(t, err, v.Name)
		got := fmt.Sprint(c.Heads, c.KVHeads, c.HeadDim, c.RoPE.Dim, c.SlidingWindow, c.TiedEmbeddings, c.RoPE.Theta, c.Layers, c.VocabSize, c.IntermediateSize)
		want := fmt.Sprint(v.Heads, v.KVHeads, v.HeadDim, v.RotaryDim, or(v.Window, 0), v.Tied, v.Theta, v.Layers, v.Vocab, v.Intermediate)
		require.Equal(t, want, got, v.Name)
		require.InDelta(t, v.Factor, c.RoPE.AttentionFactor, 1e-12, v.Name)
		require.NotEmpty(t, c.EOS, v.Name)
		checked++
	}
	require.GreaterOrEqual(t, checked, 5)
}

// Whatever config.json says, it is refused in words or gives sizes whose products fit.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{
		"{" + minimal + "}", tinyConfig, `{"model_type": "phi3", "head_dim": 1e3}`, `[]`, `{"eos_token_id": [1, "x"]}`,
		"{" + minimal + `, "hidden_size": 8, "num_attention_heads": 2, "rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [3, 4]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		for _, size := range []int{c.VocabSize, c.HiddenSize, c.IntermediateSize, c.Layers, c.Heads, c.KVHeads, c.HeadDim, c.MaxPositions, c.QKVRows()} {
			require.True(t, size >= 1 && size <= 1<<24, "%d", size)
		}
		require.Zero(t, c.Heads%c.KVHeads)
		require.True(t, c.RoPE.Dim >= 2 && c.RoPE.Dim <= c.HeadDim && c.RoPE.Dim%2 == 0)
		require.Equal(t, len(c.RoPE.ShortFactor), len(c.RoPE.LongFactor))
		require.Positive(t, c.KVBytesPerToken(4))
		for _, inv := range newRopeTable(&c.RoPE, c.RoPE.LongFactor).inv {
			require.False(t, math.IsNaN(float64(inv)))
		}
	})
}
