package gguf

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// FuzzParse throws arbitrary bytes at the reader of headers.
func FuzzParse(f *testing.F) {
	metadata, _ := tiny()
	whole := written(f, metadata[8:], []Entry{
		entry("x", weight.Q4_0, 1, 2, 32), entry("y", weight.BF16, 2, 3),
	})
	for _, seed := range [][]byte{
		whole, whole[:len(whole)-1], nil, head(0, 0).b, head(1, 0).tensor("x", 0, 0, 8).data(32),
		head(2, 0).tensor("x", 2, 0, 32).tensor("y", 30, 32, 2, 3).data(64),
		head(0, 1).str("k").u32(9).u32(8).u64(2).str("a").str("b").b,
		head(0, 1).str(alignmentKey).u32(4).u32(1 << 20).b,
		append(head(0, 1).str("k").u32(9).u32(7).u64(3).b, 0, 1, 2),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := parse("f", file)
		if err != nil {
			require.Less(t, len(err.Error()), 4000)
			return
		}
		checkHeader(t, h, file)
	})
}

// checkHeader: what is accepted lies inside the file, in order and without overlap, and survives being
// rewritten.
func checkHeader(t *testing.T, h *header, file []byte) {
	t.Helper()
	var end uint64
	for _, x := range h.tensors {
		begin := h.data + x.offset
		require.GreaterOrEqual(t, begin, end)
		end = begin + x.size
		require.LessOrEqual(t, end, uint64(len(file)))
		elements := (&weight.Tensor{Shape: x.shape}).Elems()
		require.EqualValues(t, x.size, x.format.RowBytes(elements))
	}
	for _, key := range h.meta.Keys() {
		use(&h.meta, key)
	}
	metadata, tensors := entriesOf(t, file)
	again, err := parse("f", written(t, metadata, tensors))
	require.NoError(t, err)
	require.Equal(t, h.meta.values, again.meta.values)
	require.Len(t, again.tensors, len(h.tensors))
	for i := range again.tensors {
		require.Equal(t, h.tensors[i].shape, again.tensors[i].shape)
		require.Equal(t, h.tensors[i].size, again.tensors[i].size)
	}
}

// use calls every accessor.
func use(m *Metadata, key string) {
	_, _ = m.Text(key, "")
	_, _ = m.Int(key, 0)
	_, _ = m.Float(key, 0)
	_, _ = m.Bool(key, false)
	_, _ = m.Texts(key)
	_, _ = m.Ints(key)
	_, _ = m.Floats(key)
}

// FuzzConfig varies the bytes of a file that is a whole model, after its counts. What opens has a config.json
// and a generation_config.json.
func FuzzConfig(f *testing.F) {
	metadata, _ := tiny()
	tensors := []Entry{entry("token_embd.weight", weight.F32, 1, 6, 1)} // small, so that inputs are
	f.Add(written(f, metadata, tensors)[24:])
	factors := func(name string) Entry {
		return entryOf(name, weight.F32, []byte{0, 0, 128, 63, 0, 0, 128, 63}, 2)
	}
	long := append([]Entry{factors(LongFactorsName), factors(ShortFactorsName)}, tensors...)
	f.Add(written(f, append(
		metadata,
		KV{"phi3.rope.dimension_count", uint32(4)}, KV{"phi3.rope.scaling.attn_factor", float32(1.5)},
		KV{"phi3.attention.sliding_window", uint32(7)}, KV{"phi3.rope.freq_base", float32(250000)},
		KV{"phi3.attention.key_length", uint32(8)}, KV{"tokenizer.ggml.eot_token_id", uint32(5)},
		KV{"phi3.rope.scaling.original_context_length", uint32(32)},
	), long)[24:])
	published, err := filepath.Glob("testdata/llamacpp/config-*.gguf")
	require.NoError(f, err)
	for _, name := range published {
		file, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(file[24:])
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		for _, counts := range []struct{ tensors, keys uint64 }{
			{uint64(len(tensors)), uint64(len(metadata))},
			{uint64(len(long)), uint64(len(metadata) + 7)},
			{4, 22},
		} {
			file := slices.Concat(head(counts.tensors, counts.keys).b, rest)
			c, err := Open(fstest.MapFS{"a.gguf": {Data: file}}, "a.gguf")
			if err != nil {
				require.Less(t, len(err.Error()), 4000)
				continue
			}
			for _, name := range []string{"config.json", "generation_config.json"} {
				text, err := fs.ReadFile(c, name)
				require.NoError(t, err)
				require.NotEmpty(t, text)
			}
			if _, err = fs.ReadFile(c, "tokenizer.json"); err != nil {
				require.Less(t, len(err.Error()), 4000)
			}
			require.NoError(t, c.Weights().Close())
			require.NoError(t, c.Close())
		}
	})
}
