package cpu

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/race"
)

// More than a hundred variants of config.json are compared with transformers 5.15.0 and 4.57.6
// (testdata/make_configs.py). phi3 has the logits of the newer version, or of the older version where the
// newer one fails, or refuses the configuration with an error.
func TestConfigSpellings(t *testing.T) {
	race.SkipAlone(t)
	const newer, older = "5.15.0", "4.57.6"
	// Variants that phi3 refuses, and words of the error. Transformers refuses them too, or computes
	// something that cannot be intended.
	refused := map[string]string{
		"window 0":                         "sliding_window is 0",
		"window -1":                        "sliding_window is -1",
		"window a float":                   "sliding_window",
		"eps negative":                     "rms_norm_eps is -1e-05",
		"eps null":                         "rms_norm_eps is null",
		"theta null":                       "rope_theta is null",
		"theta 0.5":                        "rope_theta is 0.5",
		"partial null":                     "partial_rotary_factor is null",
		"partial 0":                        "partial_rotary_factor is 0",
		"partial none of 16":               "rotates 0 dimensions",
		"partial 1.5":                      "partial_rotary_factor is 1.5",
		"rope_scaling linear":              `has the type "linear"`,
		"rope_scaling dynamic":             `has the type "dynamic"`,
		"rope_scaling, original null":      "original_max_position_embeddings is null",
		"rope_scaling without long_factor": "long_factor has 0 numbers, not 8",
		"rope_scaling, odd partial":        "an odd number",
		"rope_scaling, odd partial, one factor more": "an odd number",
		"rope_parameters, theta inside null":         "rope_theta is null",
		"hidden_act gelu":                            `hidden_act is "gelu"`,
		"hidden_act null":                            "hidden_act is null",
		"hidden_size null":                           "hidden_size is null",
		"layers null":                                "num_hidden_layers is null",
		"heads null":                                 "num_attention_heads is null",
		"vocab null":                                 "vocab_size is null",
		"context null":                               "max_position_embeddings is null",
		"hidden_size a float":                        "hidden_size",
		"hidden_size a string":                       "hidden_size is a string",
		"context as text":                            "max_position_embeddings is a string",
		"context in scientific notation":             "max_position_embeddings",
	}
	// Both versions fail on these, but not by intent. Their meaning is clear, and is that of another variant.
	readAs := map[string]string{
		"head_dim null":                "base",
		"model_type absent":            "base",
		"rope_scaling by rope_type su": "rope_scaling longrope",
	}
	// The newer version fails on these, and the older version ignores rope_parameters.
	readAs["rope_parameters su"] = "rope_parameters longrope"

	data, err := os.ReadFile("../../testdata/configs/spellings.json")
	require.NoError(t, err)
	type result struct {
		Error  string
		Logits [][]float32
	}
	var golden struct {
		IDs       []int32
		Positions []int
		Spellings map[string]struct {
			Config  json.RawMessage
			Results map[string]result
		}
	}
	require.NoError(t, json.Unmarshal(data, &golden))
	weights, err := os.ReadFile("../../testdata/configs/model.safetensors")
	require.NoError(t, err)

	logits := func(config []byte) ([][]float32, error) {
		b, err := New(Options{Threads: 1, Float32: true})
		require.NoError(t, err)
		fsys := fstest.MapFS{"config.json": {Data: config}, "model.safetensors": {Data: weights}}
		m, err := model.Load(context.Background(), fsys, b, model.Options{})
		if err != nil {
			return nil, err
		}
		defer func() { require.NoError(t, m.Close()) }()
		all := func(ids []int32) [][]float32 {
			cache := m.NewCache()
			defer cache.Reset()
			_, err := cache.Prepare(len(ids))
			require.NoError(t, err)
			out := &model.Output{AllLogits: true}
			require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: ids, Cache: cache}},
				out))
			var rows [][]float32
			for i := range ids {
				rows = append(rows, append([]float32(nil), row(out.Logits, i, m.Config.VocabSize)...))
			}
			return rows
		}
		long := all(golden.IDs)
		first := golden.Positions[0]
		return [][]float32{all(golden.IDs[:first+1])[first], long[first], long[golden.Positions[1]]}, nil
	}
	for name, s := range golden.Spellings {
		got, err := logits(s.Config)
		if words, ok := refused[name]; ok {
			assert.ErrorContains(t, err, words, name)
			continue
		}
		if !assert.NoError(t, err, name) {
			continue
		}
		want := s.Results[newer]
		if want.Error != "" {
			want = s.Results[older]
		}
		if as, ok := readAs[name]; ok {
			want = golden.Spellings[as].Results[newer]
		}
		if want.Error != "" {
			t.Errorf("%s: transformers fails (%s), and phi3 does not", name, want.Error)
			continue
		}
		for i, row := range want.Logits {
			for j, w := range row {
				if d := math.Abs(float64(w - got[i][j])); d > 2e-4*(1+math.Abs(float64(w))) {
					t.Errorf("%s: logit %d of row %d is %g, not %g", name, j, i, got[i][j], w)
					break
				}
			}
		}
	}
}
