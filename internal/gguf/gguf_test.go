package gguf

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// entry is a tensor whose bytes count from seed.
func entry(name string, format weight.Format, seed byte, shape ...int) Entry {
	size, err := sizeInBytes(format, shape)
	if err != nil {
		panic(err)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i) + seed
	}
	return entryOf(name, format, data, shape...)
}

func entryOf(name string, format weight.Format, data []byte, shape ...int) Entry {
	return Entry{Name: name, Format: format, Shape: shape, WriteTo: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// tiny is the metadata of a small Phi-3 with 2 layers, and its tensors.
func tiny() ([]KV, []Entry) {
	metadata := []KV{
		{"general.architecture", "phi3"},
		{"phi3.context_length", uint32(64)},
		{"phi3.embedding_length", uint32(32)},
		{"phi3.feed_forward_length", uint32(64)},
		{"phi3.block_count", uint32(2)},
		{"phi3.attention.head_count", uint32(4)},
		{"phi3.attention.head_count_kv", uint32(2)},
		{"phi3.attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"tokenizer.ggml.tokens", []string{"<unk>", "<s>", "</s>", "a", "b", "<|end|>"}},
		{"tokenizer.ggml.token_type", []int32{2, 3, 3, 1, 1, 3}},
		{"tokenizer.ggml.eos_token_id", uint32(2)},
	}
	tensors := []Entry{
		entry("token_embd.weight", weight.BF16, 1, 6, 32),
		entry("output_norm.weight", weight.F32, 2, 32),
		entry("output.weight", weight.Q4_0, 3, 6, 32),
	}
	for i := range 2 {
		for _, t := range []Entry{
			entry("attn_norm", weight.F32, 4, 32), entry("attn_qkv", weight.Q8_0, 5, 64, 32),
			entry("attn_output", weight.F16, 6, 32, 32), entry("ffn_norm", weight.F32, 7, 32),
			entry("ffn_up", weight.BF16, 8, 128, 32), entry("ffn_down", weight.Q5_1, 9, 32, 64),
		} {
			t.Name = fmt.Sprintf("blk.%d.%s.weight", i, t.Name)
			tensors = append(tensors, t)
		}
	}
	return metadata, tensors
}

// written is a file as Write makes it.
func written(t testing.TB, metadata []KV, tensors []Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Write(&b, metadata, tensors))
	return b.Bytes()
}

func open(t testing.TB, files map[string][]byte, name string) (*Checkpoint, error) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return Open(fsys, name)
}

// What Write writes, Open reads.
func TestRoundTrip(t *testing.T) {
	metadata, tensors := tiny()
	metadata = append(
		metadata,
		KV{"x.u8", uint8(200)}, KV{"x.i8", int8(-3)}, KV{"x.u16", uint16(60000)}, KV{"x.i16", int16(-300)},
		KV{"x.i32", int32(-70000)}, KV{"x.u64", uint64(math.MaxUint64)}, KV{"x.i64", int64(math.MinInt64)},
		KV{"x.f64", 1e300}, KV{"x.bool", true}, KV{"x.no", false},
		KV{"x.bools", []bool{true, false}}, KV{"x.u16s", []uint16{1, 65535}}, KV{"x.f64s", []float64{0.5}},
		KV{"x.none", []string{}}, KV{"x.f32s", []float32{1.5, -2}}, KV{"x.big", []int64{1 << 40}},
	)
	c, err := open(t, map[string][]byte{"a.gguf": written(t, metadata, tensors)}, "a.gguf")
	require.NoError(t, err)
	m := &c.Meta
	require.Len(t, m.Keys(), len(metadata))
	for key, want := range map[string]int64{
		"x.u8": 200, "x.i8": -3, "x.u16": 60000, "x.i16": -300, "x.i32": -70000, "x.i64": math.MinInt64,
		"absent": 7,
	} {
		got, err := m.Int(key, 7)
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	for key, want := range map[string]float64{
		"x.f64": 1e300, "x.i8": -3, "x.u64": math.MaxUint64, "absent": 2,
		"phi3.attention.layer_norm_rms_epsilon": float64(float32(1e-5)),
	} {
		got, err := m.Float(key, 2)
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	for key, want := range map[string]bool{"x.bool": true, "x.no": false, "absent": true} {
		got, err := m.Bool(key, true)
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	texts, err := m.Texts("tokenizer.ggml.tokens")
	require.NoError(t, err)
	require.Equal(t, []string{"<unk>", "<s>", "</s>", "a", "b", "<|end|>"}, texts)
	texts, err = m.Texts("x.none")
	require.NoError(t, err)
	require.Empty(t, texts)
	ints, err := m.Ints("x.u16s")
	require.NoError(t, err)
	require.Equal(t, []int32{1, 65535}, ints)
	floats, err := m.Floats("x.f32s")
	require.NoError(t, err)
	require.Equal(t, []float32{1.5, -2}, floats)

	for want, get := range map[string]func() error{
		"a.gguf: key x.u64 is a u64, not a whole number below 2^63": func() error {
			_, err := m.Int("x.u64", 0)
			return err
		},
		"a.gguf: key x.none is an array of 0 × string, not a string": func() error {
			_, err := m.Text("x.none", "")
			return err
		},
		"a.gguf: key x.u8 is a u8, not an array of strings": func() error {
			_, err := m.Texts("x.u8")
			return err
		},
		"a.gguf: key x.u8 is a u8, not a bool": func() error {
			_, err := m.Bool("x.u8", false)
			return err
		},
		"a.gguf: key x.bool is a bool, not a number": func() error {
			_, err := m.Float("x.bool", 0)
			return err
		},
		"a.gguf: key x.big is an array of 1 × i64, not an array of whole numbers of 32 bits": func() error {
			_, err := m.Ints("x.big")
			return err
		},
	} {
		require.EqualError(t, get(), want)
	}

	weights := c.Weights()
	require.NoError(t, c.Close())
	require.Len(t, weights.Names(), len(tensors))
	for _, want := range tensors {
		got, ok := weights.Tensor(HuggingFaceName(want.Name))
		require.True(t, ok, want.Name)
		require.Equal(t, want.Shape, got.Shape)
		require.Equal(t, want.Format, got.Format)
		var data bytes.Buffer
		require.NoError(t, want.WriteTo(&data))
		require.Equal(t, data.Bytes(), got.Data)
		require.Zero(t, got.Offset%32)
	}
	require.NoError(t, weights.Close())
	require.NoError(t, weights.Close())
}

// A Checkpoint is a file system as the standard library's test demands it.
func TestFileSystem(t *testing.T) {
	metadata, tensors := tiny()
	c, err := open(t, map[string][]byte{"a.gguf": written(t, metadata, tensors)}, "a.gguf")
	require.NoError(t, err)
	require.NoError(t, fstest.TestFS(c, "config.json", "generation_config.json"))
	_, err = c.Open("model.safetensors")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
}

// Every tensor of a Phi-3 has a name in both worlds, and there is no third one.
func TestNames(t *testing.T) {
	for a, b := range map[string]string{
		"blk.0.attn_qkv.weight":   "model.layers.0.self_attn.qkv_proj.weight",
		"blk.31.ffn_down.weight":  "model.layers.31.mlp.down_proj.weight",
		"token_embd.weight":       "model.embed_tokens.weight",
		"output.weight":           "lm_head.weight",
		"blk.100.ffn_norm.weight": "model.layers.100.post_attention_layernorm.weight",
	} {
		require.Equal(t, b, HuggingFaceName(a))
		name, ok := FileName(b)
		require.True(t, ok)
		require.Equal(t, a, name)
	}
	for _, other := range []string{
		"blk.01.ffn_up.weight", "blk.-1.ffn_up.weight", "blk.+1.ffn_up.weight", "x",
	} {
		require.Equal(t, other, HuggingFaceName(other))
	}
	_, ok := FileName("score.weight")
	require.False(t, ok)
}
