package safetensors

import (
	"encoding/binary"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// FuzzParse throws arbitrary bytes at the reader.
func FuzzParse(f *testing.F) {
	golden, err := os.ReadFile("testdata/python.safetensors")
	require.NoError(f, err)
	for _, seed := range [][]byte{
		golden, golden[:len(golden)-1], nil, fileOf("{}  ", 0), fileOf(oneF32, 4),
		withLength(math.MaxUint64),
	} {
		f.Add(seed)
	}
	f.Fuzz(checkParse)
}

// FuzzHeader varies the header alone and keeps its length right, so that the fuzzer gets past the first
// check.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(oneF32), uint16(4))
	f.Add([]byte(`{"__metadata__":{"\ud800":"\u0000"},"\ud800":{"dtype":"F4","shape":[2,0,9],"data_offsets":[0,0]}}`), uint16(0))
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[2,6],"z":[[]]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}  `), uint16(6))
	f.Fuzz(func(t *testing.T, header []byte, data uint16) {
		checkParse(t, fileOf(string(header), int(data)))
	})
}

// checkParse: whatever the bytes, no panic; what is accepted lies inside the file, without gaps, and survives
// being rewritten.
func checkParse(t *testing.T, data []byte) {
	parsed, err := parse("f", data)
	if err != nil {
		require.Less(t, len(err.Error()), 4000)
		return
	}
	total := 0
	for i := range parsed.Tensors {
		x := &parsed.Tensors[i]
		require.Equal(t, len(x.Data)*8, x.Elems()*x.Format.Bits())
		total += len(x.Data)
	}
	n := int(binary.LittleEndian.Uint64(data))
	require.Equal(t, len(data), 8+n+total)

	again, err := parse("f", rewrite(t, parsed))
	require.NoError(t, err)
	if len(parsed.Metadata) > 0 { // an empty one is not written
		require.Equal(t, parsed.Metadata, again.Metadata)
	}
	require.Len(t, again.Tensors, len(parsed.Tensors))
	for i := range again.Tensors {
		x, ok := parsed.Tensor(again.Tensors[i].Name)
		require.True(t, ok)
		x.Offset = again.Tensors[i].Offset // the header's length differs
		require.Equal(t, *x, again.Tensors[i])
	}
}

// FuzzIndex: whatever the index says, nothing is opened but files of its own directory, and what opens is
// what it lists.
func FuzzIndex(f *testing.F) {
	for _, seed := range []string{
		`{"x":"1.safetensors","y":"2.safetensors"}`, `{"x":"../1.safetensors"}`, `{"x":"/etc/passwd"}`,
		`{"x":"1.safetensors","x":"2.safetensors"}`,
		`{"x":"\u002e\u002e\u002f1.safetensors"}`, `{"x":"a\\1.safetensors"}`, `{"x":".safetensors"}`,
		`{"x":"\u00001.safetensors"}`, `{"x":null}`, `[]`,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(`{"metadata":{"total_size":1e400},"weight_map":`+seed+`}`), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, whole bool) {
		files := sharded(string(text))
		if whole {
			files[indexName] = &fstest.MapFile{Data: text}
		}
		c, err := Open(watched{t, files})
		if err != nil {
			require.Less(t, len(err.Error()), 4000)
			return
		}
		for _, name := range c.Names() {
			x, ok := c.Tensor(name)
			require.True(t, ok)
			require.Contains(t, c.Files(), x.File)
		}
		require.NoError(t, c.Close())
	})
}

// watched fails the test when a name leads out of the directory.
type watched struct {
	t     *testing.T
	files fs.FS
}

func (w watched) Open(name string) (fs.File, error) {
	require.True(w.t, name == "." || !strings.ContainsAny(name, "/\\:") && !strings.Contains(name, ".."),
		"opens %q", name)
	return w.files.Open(name)
}
