package model

import (
	"io/fs"
	"math"
	"strings"
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
		VocabSize: 32064, HiddenSize: 3072, IntermediateSize: 8192, Layers: 32,
		Heads: 32, KVHeads: 32, HeadDim: 96,
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
		"old": size +
			`, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {` + scaling + `}`,
		"su": size +
			`, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [3, 4]}`,
		"rope_type": size +
			`, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"rope_type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4]}`,
		"one object": size +
			`, "original_max_position_embeddings": 16, "rope_parameters": {"rope_theta": 5e4, "original_max_position_embeddings": 16, ` + scaling + `}`,
		"yarn": size +
			`, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"type": "yarn", "short_factor": [1, 2], "long_factor": [3, 4]}`,
		"rope_type wins": size +
			`, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"rope_type": "longrope", "type": "linear", "short_factor": [1, 2], "long_factor": [3, 4]}`,
		"old beside new": size +
			`, "rope_theta": 1e4, "partial_rotary_factor": 0.5, "original_max_position_embeddings": 16, "rope_parameters": {"rope_theta": 5e4, "partial_rotary_factor": 1, ` + scaling + `}`,
		"factor": strings.Replace(size, "64", "128", 1) +
			`, "rope_theta": 5e4, "original_max_position_embeddings": 16, "rope_scaling": {"factor": 4, ` +
			scaling + `}`,
		"top level wins": size +
			`, "original_max_position_embeddings": 16, "rope_parameters": {"rope_theta": 5e4, "original_max_position_embeddings": 32, ` + scaling + `}`,
	} {
		c, err := ReadConfig(fileSystem("config.json", "{"+text+"}"))
		require.NoError(t, err, name)
		require.Equal(t, want, c.RoPE, name)
		require.Equal(t, 16, c.Crossing(), name)
	}

	c, err := ReadConfig(fileSystem("config.json",
		"{"+minimal+
			`, "model_type": "phi3", "dtype": "float16", "eos_token_id": [5, 6], "pad_token_id": null, "unknown": {}}`,
		"generation_config.json", `{"eos_token_id": 7, "temperature": 0.5}`))
	require.NoError(t, err)
	require.Equal(t, "float16", c.DType)
	require.Equal(t, []int32{7}, c.EOS, "generation_config.json wins")
	require.EqualValues(t, -1, c.Pad)
}

func TestConfigRejections(t *testing.T) {
	with := func(more string) string { return "{" + minimal + ", " + more + "}" }
	labels := func(more string) string {
		return `{"architectures": ["Phi3ForSequenceClassification"], ` + more + "}"
	}
	for _, c := range []struct{ config, reason string }{
		{`{`, "config.json: is not valid JSON: it ends unfinished, at line 1, column 2"},
		{`[]`, "config.json"},
		{`{}`, "neither architectures nor model_type"},
		{
			`{"architectures": ["LlamaForCausalLM"]}`,
			"the architecture is LlamaForCausalLM. Phi models are also published in the shape of Llama and " +
				"Mistral, ",
		},
		{
			`{"architectures": ["MistralForCausalLM"], "model_type": "mistral"}`,
			"phi3 cannot run it yet: use the model's Phi3ForCausalLM checkpoint",
		},
		{
			`{"architectures": ["MyModel"], "model_type": "llama"}`,
			"Phi models are also published in the shape",
		},
		{
			`{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}`,
			"the architecture is Qwen2ForCausalLM, which is not a Phi-3; this program runs",
		},
		{
			`{"architectures": ["PeftModelForCausalLM"]}`,
			"the architecture is PeftModelForCausalLM, which is not a Phi-3",
		},
		{
			`{"architectures": ["PeftModelForQuestionAnswering"], "model_type": "phi3"}`,
			"PeftModelForQuestionAnswering, whose head is none of Phi-3's",
		},
		{
			`{"architectures": ["PhiMoEForCausalLM"], "attention_bias": true, "hidden_size": "x"}`,
			"PhiMoEForCausalLM is a Phi mixture of experts",
		},
		{with(`"model_type": "phi4_multimodal"`), "phi4_multimodal is Phi-4-multimodal"},
		{with(`"model_type": "phi"`), `model_type is "phi", not "phi3"`},
		{with(`"quantization_config": {"quant_method": "gptq"}`), "the weights are quantized (gptq)"},
		{with(`"quantization_config": {}`), "the weights are quantized;"},
		{with(`"quantization": {"bits": 4}`), "the weights are quantized;"},
		{with(`"hidden_act": "gelu"`), `hidden_act is "gelu"`},
		{with(`"vocab_size": 0`), "vocab_size is 0"},
		{with(`"num_hidden_layers": -1`), "num_hidden_layers is -1"},
		{with(`"hidden_size": 99999999999`), "hidden_size is 99999999999"},
		{with(`"num_key_value_heads": 5`), "not a multiple of num_key_value_heads (5)"},
		{with(`"hidden_size": 3073`), "hidden_size (3073) is not a multiple"},
		{with(`"head_dim": 95`), "head dimension is 95"},
		{with(`"head_dim": 2048`), "head dimension is 2048, not an even number in 2 … 1024"},
		{
			with(`"hidden_size": 2, "num_attention_heads": 1`),
			"intermediate_size (8192) is more than 2048 times hidden_size (2)",
		},
		{
			with(`"hidden_size": 8, "num_attention_heads": 8192, "head_dim": 2`),
			"qkv_proj's rows (49152) is more than 2048 times hidden_size (8)",
		},
		{with(`"Hidden_Size": 4`), `the key "Hidden_Size" should be "hidden_size"`},
		{with(`"hidden_size": 4, "hidden_size": 8`), `has the key "hidden_size" twice`},
		{with(`"hidden_size": "4"`), `hidden_size is a string, not a whole number`},
		{with(`"rope_scaling": {"Type": "su"}`), `rope_scaling: the key "Type" should be "type"`},
		{"{" + minimal + ", \"x\": \"\xff\"}", "config.json: is not valid UTF-8"},
		{with(`"head_dim": 1024, "num_attention_heads": 16777216`), "make 51539607552 rows of qkv_proj"},
		{with(`"sliding_window": -2`), "sliding_window is -2, so no token would see any"},
		{with(`"rms_norm_eps": -0.5`), "rms_norm_eps is -0.5, not a number from 0 up"},
		{with(`"rms_norm_eps": 1e99`), "rms_norm_eps is 1e+99"},
		{with(`"vocab_size": null`), "vocab_size is null, not a value"},
		{with(`"rope_theta": 0`), "rope_theta is 0"},
		{with(`"partial_rotary_factor": 0`), "partial_rotary_factor is 0"},
		{
			with(`"partial_rotary_factor": 0.01`),
			"partial_rotary_factor 0.01 of a head dimension of 96 rotates 0",
		},
		{with(`"rope_scaling": {"type": "linear", "factor": 2}`), `type "linear"`},
		{
			with(`"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}`),
			"short_factor has 1 numbers, not 48",
		},
		{with(`"hidden_size": 8, "num_attention_heads": 2, "rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, -1]}`), "long_factor[1] is -1"},
		{with(`"hidden_size": 8, "num_attention_heads": 2, "original_max_position_embeddings": 0, "rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, 1]}`), "original_max_position_embeddings is 0"},
		{with(`"hidden_size": 8, "num_attention_heads": 2, "rope_scaling": {"type": "su", "attention_factor": -1, "short_factor": [1, 1], "long_factor": [1, 1]}`), "attention factor of -1"},
		{with(`"eos_token_id": "x"`), `eos_token_id: "x" is neither`},
		{labels(`"num_labels": 0`), "num_labels is 0, not in 1 … 65536"},
		{labels(`"num_labels": 1000000`), "num_labels is 1000000"},
		{labels(`"id2label": {"0": "a", "2": "b"}`), "id2label has 2 labels, but none for 1"},
		{labels(`"problem_type": "ranking"`), `problem_type is "ranking"`},
	} {
		_, err := ReadConfig(fileSystem("config.json", c.config))
		require.ErrorContains(t, err, c.reason, c.config)
	}
	for files, reason := range map[string]string{
		"readme.md":           "there is no config.json, so this is not a Hugging Face checkpoint directory",
		"model.safetensors":   "there is no config.json, so this is not a Hugging Face checkpoint directory",
		"phi.gguf":            "there is no config.json, only phi.gguf: this program reads",
		"adapter_config.json": "there is no config.json, only a LoRA adapter (adapter_config.json): merge",
	} {
		_, err := ReadConfig(fileSystem(files, "{}"))
		require.ErrorContains(t, err, reason)
	}
	_, err := ReadConfig(fileSystem("config.json", `{"quantization_config": null, `+minimal+"}"))
	require.NoError(t, err)
	_, err = ReadConfig(fileSystem("config.json", "{"+minimal+"}", "generation_config.json",
		`{"eos_token_id": [1.5]}`))
	require.ErrorContains(t, err, "generation_config.json: eos_token_id")
}

func TestClassificationConfigs(t *testing.T) {
	read := func(architecture, more string) *Config {
		t.Helper()
		c, err := ReadConfig(fileSystem("config.json", `{"architectures": ["`+architecture+`"]`+more+`}`,
			"generation_config.json", `{"pad_token_id": 5, "eos_token_id": "not read"}`))
		require.NoError(t, err)
		require.EqualValues(t, 32000, c.Pad, "generation_config.json is for what generates")
		require.Equal(t, architecture, c.Head.String())
		require.Equal(t, len(c.Labels), c.HeadRows())
		require.False(t, c.TiedEmbeddings)
		return c
	}
	c := read("Phi3ForSequenceClassification", `, "model_type": "phi3", "tie_word_embeddings": true`)
	require.Equal(t, SequenceHead, c.Head)
	require.Equal(t, []string{"LABEL_0", "LABEL_1"}, c.Labels)
	require.Empty(t, c.ProblemType)
	require.Equal(t, []string{"LABEL_0"}, read("Phi3ForSequenceClassification", `, "num_labels": 1`).Labels)
	c = read("Phi3ForTokenClassification",
		`, "num_labels": 7, "id2label": {"1": "B", "0": "A", "2": 3}, "problem_type": "regression"`)
	require.Equal(t, TokenHead, c.Head)
	require.Equal(t, []string{"A", "B", "3"}, c.Labels, "id2label decides, in the order of its keys")
	require.Equal(t, "regression", c.ProblemType)

	c, err := ReadConfig(fileSystem("config.json",
		"{"+minimal+`, "id2label": {"7": "x"}, "problem_type": "x"}`))
	require.NoError(t, err, "an LM head has no labels to be wrong")
	require.Nil(t, c.Labels)
	require.Equal(t, c.VocabSize, c.HeadRows())
}

func TestPooledPosition(t *testing.T) {
	for _, c := range []struct {
		pad  int32
		ids  []int32
		want int
	}{
		{9, []int32{1}, 0},
		{9, []int32{1, 2, 3}, 2},
		{9, []int32{1, 2, 3, 9}, 2},
		{9, []int32{1, 9, 3, 9, 9}, 2}, // the rightmost: padding inside is text
		{9, []int32{9, 9, 3}, 2},
		{9, []int32{9, 9, 9}, 0},
		{-1, []int32{1, 2, 9}, 2},
	} {
		require.Equal(t, c.want, (&Config{Pad: c.pad}).PooledPosition(c.ids), "%v", c)
	}
}

// Programs that wrap a model save the wrapper's name. Transformers goes by model_type.
func TestWrappedArchitectures(t *testing.T) {
	for name, want := range map[string]Head{
		"PeftModelForCausalLM": LMHead, "PeftModel": LMHead, "FSDPPhi3ForCausalLM": LMHead,
		"PeftModelForSequenceClassification": SequenceHead, "PeftModelForTokenClassification": TokenHead,
	} {
		c, err := ParseConfig([]byte(`{"architectures": ["` + name + `"], "model_type": "phi3"}`))
		require.NoError(t, err, name)
		require.Equal(t, want, c.Head, name)
		require.Equal(t, []string{"the architecture is " + name + "; model_type is phi3, so it is read as " +
			want.String()}, c.Notes)
	}
	for _, same := range []string{
		`"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"`,
		`"model_type": "phi3"`, `"architectures": ["Phi3ForCausalLM"]`,
	} {
		c, err := ParseConfig([]byte("{" + same + "}"))
		require.NoError(t, err)
		require.Empty(t, c.Notes)
	}
}

// What is set and has no effect is said.
func TestConfigNotes(t *testing.T) {
	const longRope = `"hidden_size": 8, "num_attention_heads": 2, "rope_parameters": {"type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4], `
	for text, note := range map[string]string{
		`"attention_bias": true`: "config.json says attention_bias; a Phi-3 " +
			"has no biases, and phi3 ignores this, as transformers does",
		`"mlp_bias": true`:     "config.json says mlp_bias; ",
		`"lm_head_bias": true`: "config.json says lm_head_bias; ",
		longRope +
			`"original_max_position_embeddings": 16}`: "original_max_position_embeddings is 16 in " +
			"rope_parameters, where it does not count, and 4096 beside it, which counts",
	} {
		c, err := ParseConfig([]byte("{" + minimal + ", " + text + "}"))
		require.NoError(t, err, text)
		require.Len(t, c.Notes, 1, text)
		require.Contains(t, c.Notes[0], note)
	}
}
