package gguf

import (
	"encoding/json"
	"io/fs"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// changed is tiny with other values for some keys; nil removes a key.
func changed(changes map[string]any) []KV {
	metadata, _ := tiny()
	for key, value := range changes {
		i := slices.IndexFunc(metadata, func(kv KV) bool { return kv.Key == key })
		switch {
		case value == nil:
			metadata = slices.Delete(metadata, i, i+1)
		case i >= 0:
			metadata[i].Value = value
		default:
			metadata = append(metadata, KV{key, value})
		}
	}
	return metadata
}

// read returns a JSON file of the checkpoint.
func read(t *testing.T, c *Checkpoint, name string) (values map[string]any) {
	t.Helper()
	text, err := fs.ReadFile(c, name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &values))
	return values
}

// What the metadata lacks or says wrongly is refused with the file and the key.
func TestConfigErrors(t *testing.T) {
	const epsKey = "phi3.attention.layer_norm_rms_epsilon"
	for want, changes := range map[string]map[string]any{
		"has no key general.architecture, so it is not a model": {"general.architecture": nil},
		`key general.architecture is "llama"; phi3 runs "phi3", the architecture of Phi-3, 3.5 and 4`: {
			"general.architecture": "llama",
		},
		`key general.architecture is "phimoe"; phi3 runs`:           {"general.architecture": "phimoe"},
		"key general.architecture is a u32, not a string":           {"general.architecture": uint32(3)},
		"has no key phi3.block_count, which every Phi-3 has":        {"phi3.block_count": nil},
		"key phi3.context_length is a string, not a whole number":   {"phi3.context_length": "4096"},
		"has no key phi3.attention.layer_norm_rms_epsilon, which":   {epsKey: nil},
		"layer_norm_rms_epsilon is NaN, not a finite number":        {epsKey: float32(math.NaN())},
		"key phi3.rope.freq_base is 1e+300, not a finite number":    {"phi3.rope.freq_base": 1e300},
		"head_count is 0, and embedding_length 32; both must be at": {"phi3.attention.head_count": uint32(0)},
		"head_count is an array of 2 × u32": {
			"phi3.attention.head_count": []uint32{4, 4},
		},
		"value_length is 16, but a head has the width 8: those of a Phi-3": {
			"phi3.attention.key_length": uint32(8), "phi3.attention.value_length": uint32(16),
		},
		"value_length is 17, but a head has the width": {"phi3.attention.value_length": uint32(17)},
		"head_count is 33: with embedding_length 32, a head has the width 0": {
			"phi3.attention.head_count": uint32(33),
		},
		"key phi3.rope.dimension_count is 9, not in 1 … 8":       {"phi3.rope.dimension_count": uint32(9)},
		`key phi3.rope.scaling.type is "linear"; Phi-3 uses`:     {"phi3.rope.scaling.type": "linear"},
		"key phi3.expert_count is 16; phi3 runs models without":  {"phi3.expert_count": uint32(16)},
		"eos_token_id is 6, not in 0 … 5, the rows of the embed": {"tokenizer.ggml.eos_token_id": uint32(6)},
		"eos_token_id is -1, not in 0 … 5":                       {"tokenizer.ggml.eos_token_id": int32(-1)},
		"has no key tokenizer.ggml.eos_token_id and no token <|end|>: phi3 would": {
			"tokenizer.ggml.eos_token_id": nil, "tokenizer.ggml.tokens": []string{"a"},
			"tokenizer.ggml.token_type": []int32{1},
		},
		"token_type has 1 elements, but tokenizer.ggml.tokens has 6": {
			"tokenizer.ggml.token_type": []int32{1},
		},
		"tokens has 7 elements, but the embedding table has 6 rows": {
			"tokenizer.ggml.tokens": make([]string, 7), "tokenizer.ggml.token_type": nil,
		},
	} {
		_, tensors := tiny()
		_, err := open(t, map[string][]byte{"a.gguf": written(t, changed(changes), tensors)}, "a.gguf")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "a.gguf: ")
	}
	factors := func(name string, f weight.Format, values ...byte) Entry {
		return entryOf(name, f, values, len(values)*8/f.Bits())
	}
	one := []byte{0, 0, 128, 63}
	for want, change := range map[string]func(e []Entry) []Entry{
		"has no tensor token_embd.weight, the embedding table": func(e []Entry) []Entry { return e[1:] },
		"tensor token_embd.weight has 1 dimensions, not 2": func(e []Entry) []Entry {
			return append(e[1:], entry("token_embd.weight", weight.F32, 0, 6))
		},
		"has only one of the tensors rope_factors_long.weight and": func(e []Entry) []Entry {
			return append(e, factors(LongFactorsName, weight.F32, one...))
		},
		"tensor rope_factors_long.weight is F16 of shape [2], not F32 with": func(e []Entry) []Entry {
			return append(e, factors(LongFactorsName, weight.F16, one...))
		},
		"tensor rope_factors_short.weight [1] is 0, not a positive number": func(e []Entry) []Entry {
			return append(e, factors(LongFactorsName, weight.F32, one...),
				factors(ShortFactorsName, weight.F32, append(slices.Clone(one), 0, 0, 0, 0)...))
		},
		"tensor lm_head.weight has the name that Hugging Face gives a tensor; in a GGUF file": func(
			e []Entry,
		) []Entry {
			return append(e, entry("lm_head.weight", weight.F32, 0, 6))
		},
		"tensor model.layers.1.self_attn.qkv_proj.weight has the name": func(e []Entry) []Entry {
			return append([]Entry{entry("model.layers.1.self_attn.qkv_proj.weight", weight.F32, 0, 6)}, e...)
		},
		"tensor rope_factors_long.weight is F32 of shape [513], not F32 with": func(e []Entry) []Entry {
			return append(e, entry(LongFactorsName, weight.F32, 1, 513))
		},
	} {
		metadata, tensors := tiny()
		_, err := open(t, map[string][]byte{"a.gguf": written(t, metadata, change(tensors))}, "a.gguf")
		require.ErrorContains(t, err, want)
	}
}

// The ids that end an answer are the file's own, then the control tokens of the family.
func TestEndTokens(t *testing.T) {
	tokens := []string{"<|endoftext|>", "<|end|>", "</s>", "<|im_end|>", "a", "b"}
	for _, test := range []struct {
		changes map[string]any
		want    []any
	}{
		{map[string]any{"tokenizer.ggml.token_type": []int32{3, 3, 3, 3, 1, 1}}, []any{2., 1., 0., 3.}},
		{map[string]any{"tokenizer.ggml.token_type": []int32{3, 1, 3, 4, 1, 1}}, []any{2., 0.}},
		{map[string]any{"tokenizer.ggml.token_type": nil}, []any{2., 1., 0., 3.}},
		{map[string]any{
			"tokenizer.ggml.token_type": []int32{1, 1, 1, 1, 1, 1}, "tokenizer.ggml.eos_token_id": uint32(0),
			"tokenizer.ggml.eot_token_id": uint32(4), "tokenizer.ggml.eom_token_id": uint32(0),
		}, []any{0., 4.}},
		{map[string]any{
			"tokenizer.ggml.token_type": []int32{1, 3, 1, 1, 1, 1}, "tokenizer.ggml.eos_token_id": nil,
		}, []any{1.}},
	} {
		test.changes["tokenizer.ggml.tokens"] = tokens
		_, tensors := tiny()
		c, err := open(t, map[string][]byte{"a.gguf": written(t, changed(test.changes), tensors)}, "a.gguf")
		require.NoError(t, err)
		require.Equal(t, test.want, read(t, c, "generation_config.json")["eos_token_id"])
	}
}

// Files of April 2024 have no sliding window. It is that of the model with these sizes, with a note.
func TestOldFiles(t *testing.T) {
	for _, test := range []struct {
		layers, kvHeads, context uint32
		window                   any
	}{
		{32, 32, 4096, 2047.},
		{40, 10, 4096, 2047.},
		{32, 32, 131072, 262144.},
		{40, 10, 131072, 131072.},
		{2, 4, 4096, nil},
		{32, 8, 131072, nil},
		{40, 10, 16384, nil},
	} {
		changes := map[string]any{
			"phi3.block_count": test.layers, "phi3.attention.head_count_kv": test.kvHeads,
			"phi3.context_length": test.context,
		}
		_, tensors := tiny()
		file := func() *Checkpoint {
			c, err := open(t, map[string][]byte{"a.gguf": written(t, changed(changes), tensors)}, "a.gguf")
			require.NoError(t, err)
			return c
		}
		c := file()
		require.Equal(t, test.window, read(t, c, "config.json")["sliding_window"])
		require.Equal(t, test.window != nil, len(c.Notes) == 1)
		changes["phi3.attention.sliding_window"] = uint32(0)
		c = file()
		require.Nil(t, read(t, c, "config.json")["sliding_window"], "the file says that there is none")
		require.Empty(t, c.Notes)
	}
}
