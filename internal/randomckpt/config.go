package randomckpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// setDType sets the type of the weights in config.json and changes nothing else.
func setDType(text []byte, name string) ([]byte, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if keys == nil {
		return nil, errors.New("config.json: is null, not an object")
	}
	key := "torch_dtype"
	if _, ok := keys["dtype"]; ok { // the key's name since transformers 4.56
		key = "dtype"
	}
	keys[key] = json.RawMessage(`"` + name + `"`)
	return encode(keys)
}

// generationConfig makes a generation_config.json from the ids in config.json.
func generationConfig(configText []byte) ([]byte, error) {
	var ids map[string]any
	if err := json.Unmarshal(configText, &ids); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	maps.DeleteFunc(ids, func(key string, value any) bool {
		return value == nil || !slices.Contains([]string{"bos_token_id", "eos_token_id", "pad_token_id"}, key)
	})
	return encode(ids)
}

func encode(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

// preset is a row of the table in section 1 of docs/phi3-spec.md.
type preset struct {
	vocab, hidden, intermediate, layers, heads, kvHeads int
	maxPositions, originalMaxPositions                  int
	ropeTheta                                           float64
	ropeScaling                                         any // nil or a longrope object
	partialRotary                                       float64
	slidingWindow                                       any // positions, or nil
	tied                                                bool
	bos, eos, pad                                       int
	stop                                                []int // eos_token_id of generation_config.json
}

var presets = map[string]preset{
	"phi-3-mini": {
		32064, 3072, 8192, 32, 32, 32, 4096, 4096, 1e4, nil, 1, 2047, false, 1, 32000, 32000,
		[]int{32000, 32001, 32007},
	},
	"phi-3-medium": {
		32064, 5120, 17920, 40, 40, 10, 4096, 4096, 1e4, nil, 1, 2047, false, 1, 32000, 32000,
		[]int{32000, 32001, 32007},
	},
	"phi-4": {
		100352, 5120, 17920, 40, 40, 10, 16384, 16384, 250000, nil, 1, nil, false, 100257, 100257, 100257,
		[]int{100257, 100265},
	},
	"phi-4-mini": {
		200064, 3072, 8192, 32, 24, 8, 131072, 4096, 1e4, phi4MiniRope, 0.75, 262144, true,
		199999, 199999, 199999,
		[]int{200020, 199999},
	},
}

var phi4MiniRope = map[string]any{
	"type":         "longrope",
	"short_factor": slices.Repeat([]float64{1}, 48),
	"long_factor": []float64{
		1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649,
		2.446418898, 2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845,
		5.351743533, 5.984965424, 6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158,
		11.70738129, 13.09260651, 14.64173252, 16.37415215, 18.31155283, 20.47818807, 22.90118105,
		25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23, 32.6, 32.61, 32.64, 32.66, 32.7, 32.71,
		32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77,
	},
}

// Preset returns config.json and generation_config.json of a published model: phi-3-mini, phi-3-medium, phi-4
// or phi-4-mini.
func Preset(name string) (configText, generationText []byte, err error) {
	p, ok := presets[name]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(presets)), ", ")
		return nil, nil, fmt.Errorf("no preset %q; the presets are %s", name, known)
	}
	configText, err = encode(map[string]any{
		"architectures":                    []string{"Phi3ForCausalLM"},
		"model_type":                       "phi3",
		"vocab_size":                       p.vocab,
		"hidden_size":                      p.hidden,
		"intermediate_size":                p.intermediate,
		"num_hidden_layers":                p.layers,
		"num_attention_heads":              p.heads,
		"num_key_value_heads":              p.kvHeads,
		"max_position_embeddings":          p.maxPositions,
		"original_max_position_embeddings": p.originalMaxPositions,
		"rope_theta":                       p.ropeTheta,
		"rope_scaling":                     p.ropeScaling,
		"partial_rotary_factor":            p.partialRotary,
		"sliding_window":                   p.slidingWindow,
		"tie_word_embeddings":              p.tied,
		"bos_token_id":                     p.bos,
		"eos_token_id":                     p.eos,
		"pad_token_id":                     p.pad,
		"hidden_act":                       "silu",
		"rms_norm_eps":                     1e-5,
		"attention_bias":                   false,
		"attention_dropout":                0.0,
		"embd_pdrop":                       0.0,
		"resid_pdrop":                      0.0,
		"initializer_range":                0.02,
		"torch_dtype":                      "bfloat16",
		"use_cache":                        true,
	})
	if err != nil {
		return nil, nil, err
	}
	generationText, err = encode(map[string]any{
		"bos_token_id": p.bos, "eos_token_id": p.stop,
		"pad_token_id": p.pad,
	})
	return configText, generationText, err
}
