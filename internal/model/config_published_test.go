package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
	"phi3/internal/strictjson/jsontest"
)

// Every number of the spec's table of checkpoints, read from the real files. Of the three whose file was not
// found, the row of the table is the config.json: its keys are the same.
func TestRealConfigs(t *testing.T) {
	dir := "../../../shared/phi3-data"
	data, err := os.ReadFile(filepath.Join(dir, "variants.json"))
	if err != nil {
		t.Skip("the real configuration files are not beside the project:", err)
	}
	var table struct {
		Variants []json.RawMessage
		Others   []struct{ Name, Architecture string } `json:"not_phi3_for_causal_lm"`
	}
	require.NoError(t, json.Unmarshal(data, &table))
	files := map[string]string{ // of each row of the table
		"microsoft/Phi-3-mini-4k-instruct":                  "Phi-3-mini-4k-instruct/config.json",
		"microsoft/Phi-3-mini-128k-instruct (April 2024)":   "Phi-3-mini-128k-instruct/config.json",
		"microsoft/Phi-3-mini-128k-instruct (Jun/Jul 2024)": "Phi-3-mini-128k-instruct/config.2024-07.json",
		"microsoft/Phi-3.5-mini-instruct":                   "Phi-3.5-mini-instruct/config.json",
		"microsoft/Phi-3-medium-4k-instruct":                "Phi-3-medium-4k-instruct/config.json",
		"microsoft/Phi-3-medium-128k-instruct":              "",
		"microsoft/phi-4":                                   "phi-4/config.json",
		"microsoft/Phi-4-reasoning":                         "",
		"microsoft/Phi-4-reasoning-plus":                    "",
		"microsoft/Phi-4-mini-instruct":                     "Phi-4-mini-instruct/config.json",
		"microsoft/Phi-4-mini-reasoning":                    "",
	}
	require.Len(t, table.Variants, len(files))
	for _, row := range table.Variants {
		var v struct {
			Name      string
			Heads     int     `json:"num_attention_heads"`
			KVHeads   int     `json:"num_key_value_heads"`
			HeadDim   int     `json:"head_dim"`
			RotaryDim int     `json:"rotary_dim"`
			Factor    float64 `json:"attention_factor"`
			Scaling   *struct {
				Short []float32 `json:"short_factor"`
				Long  []float32 `json:"long_factor"`
			} `json:"rope_scaling"`
			MaxPositions int     `json:"max_position_embeddings"`
			OriginalMax  int     `json:"original_max_position_embeddings"`
			Window       *int    `json:"sliding_window"`
			Tied         bool    `json:"tie_word_embeddings"`
			Theta        float64 `json:"rope_theta"`
			Eps          float32 `json:"rms_norm_eps"`
			Layers       int     `json:"num_hidden_layers"`
			Vocab        int     `json:"vocab_size"`
			Hidden       int     `json:"hidden_size"`
			Intermediate int     `json:"intermediate_size"`
			DType        string
			Special      []*int32 `json:"config_bos_eos_pad"`
			EOS          []int32  `json:"generation_eos_token_ids"`
			Tensors      int      `json:"tensor_count"`
			Bytes        int64    `json:"tensor_bytes"`
			QKVRows      int      `json:"qkv_rows"`
		}
		require.NoError(t, json.Unmarshal(row, &v))
		file, ok := files[v.Name]
		require.True(t, ok, v.Name)
		special := func(i int) int32 { return or(v.Special[i], -1) }
		text := bytes.Replace(row, []byte(`{`),
			fmt.Appendf(nil, `{"architectures": ["Phi3ForCausalLM"], "bos_token_id": %d, "pad_token_id": %d,`,
				special(0), special(2)), 1)
		generation, err := json.Marshal(map[string]any{"eos_token_id": v.EOS})
		require.NoError(t, err)
		if file != "" {
			text, err = os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			generation, err = os.ReadFile(filepath.Join(dir, filepath.Dir(file), "generation_config.json"))
			if errors.Is(err, fs.ErrNotExist) { // of Phi-3-medium
				generation, v.EOS = []byte("{}"), []int32{special(1)}
			}
		}
		c, err := ReadConfig(fileSystem("config.json", string(text), "generation_config.json",
			string(generation)))
		require.NoError(t, err, v.Name)
		want := &Config{
			VocabSize: v.Vocab, HiddenSize: v.Hidden, IntermediateSize: v.Intermediate, Layers: v.Layers,
			Heads: v.Heads, KVHeads: v.KVHeads,
			HeadDim: v.HeadDim, RMSNormEps: v.Eps, SlidingWindow: or(v.Window,
				0), TiedEmbeddings: v.Tied, MaxPositions: v.MaxPositions,
			BOS: special(0), EOS: v.EOS, Pad: special(2), DType: v.DType,
			RoPE: RoPEConfig{
				Theta: v.Theta, Dim: v.RotaryDim, OriginalMax: v.OriginalMax,
				AttentionFactor: c.RoPE.AttentionFactor,
			},
		}
		if v.Scaling != nil {
			want.RoPE.ShortFactor, want.RoPE.LongFactor = v.Scaling.Short, v.Scaling.Long
		}
		require.Equal(t, want, c, v.Name)
		require.InDelta(t, v.Factor, c.RoPE.AttentionFactor, 1e-12, v.Name)
		require.Equal(t, v.QKVRows, c.QKVRows(), v.Name)
		require.Len(t, c.Tensors(), v.Tensors, v.Name)
		size := int64(0)
		for _, tensor := range c.Tensors() {
			n := int64(2)
			for _, d := range tensor.Shape {
				n *= int64(d)
			}
			size += n
		}
		require.Equal(t, v.Bytes, size, v.Name)
	}

	require.NotEmpty(t, table.Others)
	for _, other := range table.Others {
		architecture, _, _ := strings.Cut(other.Architecture, " ")
		_, err := ParseConfig([]byte(`{"architectures": ["` + architecture + `"]}`))
		require.ErrorContains(t, err, architecture+" is ", other.Name)
	}
}

// Whatever config.json says, it is refused in words or gives sizes whose products fit.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{
		"{" + minimal +
			"}", tinyConfig,
		`{"architectures": ["Phi3ForSequenceClassification"], "id2label": {"0": "a", "1": "b"}, "problem_type": "regression"}`,
		`{"architectures": ["Phi3ForTokenClassification"], "num_labels": 3, "quantization_config": {"quant_method": "awq"}}`,
		`{"architectures": ["Phi3ForTokenClassification"], "id2label": {"0": "a", "1": 2}}`, `{"model_type": "phi3", "head_dim": 1e3}`, `[]`, `{"eos_token_id": [1, "x"]}`,
		"{" + minimal +
			`, "hidden_size": 8, "num_attention_heads": 2, "rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [3, 4]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		checkSizes(t, c)
	})
}

// checkSizes: sizes are in range, and their products fit.
func checkSizes(t *testing.T, c *Config) {
	for _, size := range []int{
		c.VocabSize, c.HiddenSize, c.IntermediateSize, c.Layers, c.Heads, c.KVHeads,
		c.HeadDim, c.MaxPositions, c.QKVRows(),
	} {
		require.True(t, size >= 1 && size <= 1<<24, "%d", size)
	}
	require.Zero(t, c.Heads%c.KVHeads)
	require.True(t, c.RoPE.Dim >= 2 && c.RoPE.Dim <= c.HeadDim && c.RoPE.Dim%2 == 0)
	require.Equal(t, len(c.RoPE.ShortFactor), len(c.RoPE.LongFactor))
	require.True(t, c.HeadRows() >= 1 && c.HeadRows() <= 1<<24)
	require.Positive(t, c.KVBytesPerToken(4))
	for _, inv := range newRopeTable(&c.RoPE, c.RoPE.LongFactor).inv {
		require.False(t, math.IsNaN(float64(inv)))
	}
}

// TestConfigMutants reads every variant of a real configuration in which one value is something else.
func TestConfigMutants(t *testing.T) {
	race.SkipAlone(t)
	for _, name := range []string{"longrope", "sequence", "v5"} {
		config, err := os.ReadFile("../../testdata/" + name + "/config.json")
		require.NoError(t, err)
		n, read := 0, 0
		for path, text := range jsontest.Mutants(config, 100) {
			c, err := ReadConfig(fileSystem("config.json", string(text)))
			if n++; err != nil {
				require.NotContains(t, err.Error(), "Go ", path)
				continue
			}
			read++
			checkSizes(t, c)
			_, err = ReadConfig(fileSystem("config.json", string(config), "generation_config.json",
				string(text)))
			require.NoError(t, err)
		}
		require.Greater(t, n, 1000)
		require.Greater(t, read, 100, "keys that do not matter")
	}
}
