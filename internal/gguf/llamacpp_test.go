package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// Rebuilt returns the file that llama.cpp's converter has made of a checkpoint in testdata, with the weights
// in that type. Its header is in testdata/llamacpp, its data is the checkpoint's.
func Rebuilt(t testing.TB, name, kind string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/llamacpp/" + name + "-" + kind + ".gguf")
	require.NoError(t, err)
	dir := os.DirFS("../../testdata/" + name)
	stored, err := safetensors.Open(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, stored.Close()) }()
	factors := readFactors(t, "../../testdata/"+name)

	file := slices.Concat(text, make([]byte, 8<<20))
	h, err := parse(name, file)
	require.NoError(t, err)
	require.EqualValues(t, len(text), h.data)
	var end uint64
	for _, x := range h.tensors {
		dst := file[h.data+x.offset:][:x.size]
		end = (h.data + x.offset + x.size + 31) &^ 31
		var values []float32
		if values = factors[x.name]; values == nil {
			s, ok := stored.Tensor(HuggingFaceName(x.name))
			require.True(t, ok, x.name)
			require.Equal(t, s.Shape, x.shape)
			if s.Format == x.format {
				copy(dst, s.Data)
				continue
			}
			values = s.Float32s()
		}
		require.Equal(t, weight.F32, x.format)
		_, err := binary.Encode(dst, binary.LittleEndian, values)
		require.NoError(t, err)
	}
	return file[:end]
}

// readFactors reads the factors of long RoPE from config.json, under the names of their tensors.
func readFactors(t testing.TB, dir string) map[string][]float32 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	var config struct {
		Scaling struct {
			Short []float32 `json:"short_factor"`
			Long  []float32 `json:"long_factor"`
		} `json:"rope_scaling"`
	}
	require.NoError(t, json.Unmarshal(text, &config))
	return map[string][]float32{ShortFactorsName: config.Scaling.Short, LongFactorsName: config.Scaling.Long}
}

// The headers in testdata/llamacpp place every tensor where llama.cpp's converter has placed it, with the
// values that it has: the whole file is the same, byte for byte. And Write makes that file too.
func TestLlamaCppFiles(t *testing.T) {
	text, err := os.ReadFile("testdata/llamacpp/sha256.json")
	require.NoError(t, err)
	var hashes map[string]string
	require.NoError(t, json.Unmarshal(text, &hashes))
	for _, file := range []struct{ name, kind string }{
		{"mini", "bf16"}, {"mini", "f32"}, {"longrope", "bf16"}, {"partial", "bf16"},
	} {
		whole := Rebuilt(t, file.name, file.kind)
		sum := sha256.Sum256(whole)
		require.Equal(t, hashes[file.name+"-"+file.kind], hex.EncodeToString(sum[:]), file)
		metadata, tensors := entriesOf(t, whole)
		require.True(t, bytes.Equal(whole, written(t, metadata, tensors)), file)
	}
	require.Len(t, hashes, 4)
}

// entriesOf reads a file back into what Write takes.
func entriesOf(t testing.TB, file []byte) (kvs []KV, entries []Entry) {
	t.Helper()
	h, err := parse("f", file)
	require.NoError(t, err)
	first := scanner{text: string(file), whole: len(file)}
	require.NoError(t, first.walk(func(key string, v value) error {
		kvs = append(kvs, KV{key, v.goValue()})
		return nil
	}, func(tensorInfo) error { return nil }))
	for _, x := range h.tensors {
		entries = append(entries, entryOf(x.name, x.format, file[h.data+x.offset:][:x.size], x.shape...))
	}
	return kvs, entries
}

// goValue returns a value as KV has it.
func (v value) goValue() any {
	m := Metadata{values: map[string]value{"": v}}
	if v.kind == String {
		if v.isArray {
			texts, _ := m.Texts("")
			return texts
		}
		text, _ := m.Text("", "")
		return text
	}
	of := map[Kind]any{
		Uint8: make([]uint8, v.n), Int8: make([]int8, v.n), Uint16: make([]uint16, v.n),
		Int16: make([]int16, v.n), Uint32: make([]uint32, v.n), Int32: make([]int32, v.n),
		Float32: make([]float32, v.n), Bool: make([]bool, v.n), Uint64: make([]uint64, v.n),
		Int64: make([]int64, v.n), Float64: make([]float64, v.n),
	}[v.kind]
	_, _ = binary.Decode([]byte(v.raw), binary.LittleEndian, of)
	if v.isArray {
		return of
	}
	return first(of)
}

func first(list any) any {
	switch l := list.(type) {
	case []uint8:
		return l[0]
	case []int8:
		return l[0]
	case []uint16:
		return l[0]
	case []int16:
		return l[0]
	case []uint32:
		return l[0]
	case []int32:
		return l[0]
	case []float32:
		return l[0]
	case []bool:
		return l[0]
	case []uint64:
		return l[0]
	case []int64:
		return l[0]
	}
	return list.([]float64)[0]
}

// OpenBytes opens a file that is in memory.
func OpenBytes(t testing.TB, file []byte) *Checkpoint {
	t.Helper()
	c, err := Open(fstest.MapFS{"model.gguf": {Data: file}}, "model.gguf")
	require.NoError(t, err)
	return c
}
