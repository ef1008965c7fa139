package gguf

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// raw builds a file by hand, right or wrong.
type raw struct{ b []byte }

func (r *raw) u32(n uint32) *raw { r.b = binary.LittleEndian.AppendUint32(r.b, n); return r }
func (r *raw) u64(n uint64) *raw { r.b = binary.LittleEndian.AppendUint64(r.b, n); return r }
func (r *raw) str(s string) *raw { r.u64(uint64(len(s))); r.b = append(r.b, s...); return r }

// head begins a file of version 3.
func head(tensors, keys uint64) *raw {
	return (&raw{[]byte(magic)}).u32(3).u64(tensors).u64(keys)
}

// tensor appends the description of a tensor. dims are innermost first.
func (r *raw) tensor(name string, kind uint32, offset uint64, dims ...uint64) *raw {
	r.str(name).u32(uint32(len(dims)))
	for _, n := range dims {
		r.u64(n)
	}
	return r.u32(kind).u64(offset)
}

// data pads the header and appends n bytes of data.
func (r *raw) data(n int) []byte {
	return append(r.b, make([]byte, int(-uint64(len(r.b))&31)+n)...)
}

// Everything that a header can get wrong is refused in a sentence.
func TestRejected(t *testing.T) {
	good := head(1, 0).tensor("x", 0, 0, 8).data(32)
	_, err := parse("f", good)
	require.NoError(t, err)
	version := func(n uint32) []byte { return binary.LittleEndian.AppendUint32([]byte(magic), n) }
	const maxInt = math.MaxInt64
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"empty":         {nil, "is empty: is the download complete?"},
		"another magic": {[]byte("GGML1234"), `begins with "GGML", not with "GGUF": not a GGUF file?`},
		"LFS": {
			[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "is a Git LFS pointer",
		},
		"a web page":       {[]byte("<!DOCTYPE html><html>"), "is a web page"},
		"version 0":        {version(0), "is a GGUF file of version 0; phi3 reads versions 2 and 3"},
		"version 1":        {version(1), "is a GGUF file of version 1, which nothing has written since 2023"},
		"version 4":        {version(4), "is a GGUF file of version 4"},
		"big-endian":       {version(3 << 24), "is a big-endian GGUF file"},
		"no counts":        {version(3), "needs 8 bytes from byte 8, but the file has 8: is the download"},
		"too many keys":    {head(0, maxKeys+1).b, "says that it has 262145 keys, over the limit of 262144"},
		"too many tensors": {head(math.MaxUint64, 0).b, "tensors, over the limit of 262144"},
		"counts over the file": {
			head(10, 10).data(0), "10 tensors and 10 keys, which do not fit in 32 bytes: is the download",
		},

		"empty key":       {head(0, 1).str("").data(32), "a key at byte 24 has 0 bytes, not 1 to 65535"},
		"huge key":        {head(0, 1).u64(1 << 62).data(32), "a key at byte 24 has 4611686018427387904"},
		"key is cut":      {head(0, 1).u64(1000).data(32), "a key at byte 24 needs 1000 bytes from byte 32"},
		"key not UTF-8":   {head(0, 1).str("\xff\xfe").data(32), `a key at byte 24 is not UTF-8: "\xff\xfe"`},
		"key twice":       {head(0, 2).str("k").u32(4).u32(1).str("k").u32(4).u32(1).b, "key k occurs twice"},
		"unknown kind":    {head(0, 1).str("k").u32(13).data(32), "key k has the type 13, which GGUF does"},
		"array of arrays": {head(0, 1).str("k").u32(9).u32(9).u64(1).data(32), "key k is an array of arrays"},
		"array of nothing": {
			head(0, 1).str("k").u32(9).u32(77).u64(1).data(32), "key k has the type 77, which GGUF does",
		},
		"array over the file": {
			head(0, 1).str("k").u32(9).u32(4).u64(1 << 61).data(0), "key k has 2305843009213693952 elements",
		},
		"array of 2⁶⁴": {
			head(0, 1).str("k").u32(9).u32(0).u64(math.MaxUint64).data(0), "key k has 18446744073709551615",
		},
		"strings over the file": {
			head(0, 1).str("k").u32(9).u32(8).u64(5).str("a").data(0), "key k has 5 elements, which do not",
		},
		"string over the file": {
			head(0, 1).str("k").u32(8).u64(math.MaxUint64).data(0),
			"key k needs 18446744073709551615 bytes from byte 45",
		},
		"string not UTF-8": {head(0, 1).str("k").u32(8).str("a\xffb").b, "key k is a string that is not"},
		"strings not UTF-8": {
			head(0, 1).str("k").u32(9).u32(8).u64(2).str("a").str("\xff").b,
			`key k has an element that is not UTF-8: number 1, "\xff"`,
		},
		"a bool of 2":  {append(head(0, 1).str("k").u32(7).b, 2), "key k is a bool with the value 2, not"},
		"bools of 255": {append(head(0, 1).str("k").u32(9).u32(7).u64(2).b, 1, 255), "the value 255, not 0"},
		"alignment 0":  {head(0, 1).str(alignmentKey).u32(4).u32(0).b, "general.alignment is 0, not a power"},
		"alignment 24": {head(0, 1).str(alignmentKey).u32(4).u32(24).b, "general.alignment is 24, not a"},
		"alignment 2²¹": {
			head(0, 1).str(alignmentKey).u32(4).u32(1 << 21).b,
			"general.alignment is 2097152, not a power of two up to 1048576",
		},
		"alignment i32": {
			head(0, 1).str(alignmentKey).u32(5).u32(32).b, "general.alignment is an i32, not a u32",
		},

		"tensor without a name": {head(1, 0).tensor("", 0, 0, 8).data(32), "a tensor's name at byte 24 has"},
		"name of 64": {
			head(1, 0).tensor(strings.Repeat("x", 64), 0, 0, 8).data(32), "a tensor's name at byte 24 has",
		},
		"name not UTF-8": {head(1, 0).tensor("\x80", 0, 0, 8).data(32), "name at byte 24 is not UTF-8"},
		"tensor twice": {
			head(2, 0).tensor("x", 0, 0, 8).tensor("x", 0, 32, 8).data(64), "tensor x occurs twice",
		},
		"5 dimensions": {
			head(1, 0).tensor("x", 0, 0, 1, 1, 1, 1, 1).data(32), "tensor x has 5 dimensions, over the",
		},
		"dimension of 2⁶³": {head(1, 0).tensor("x", 0, 0, 1<<63).data(32), "tensor x has the dimension"},
		"too many elements": {
			head(1, 0).tensor("x", 0, 0, maxInt, 2).data(32), "which has too many elements to count",
		},
		"2⁶⁴ elements": {head(1, 0).tensor("x", 0, 0, 1<<32, 1<<32).data(32), "too many elements to count"},
		"too many bytes": {
			head(1, 0).tensor("x", 0, 0, 1<<62).data(32), "and the format F32 has too many bytes to count",
		},
		"unknown type": {head(1, 0).tensor("x", 43, 0, 8).data(32), "tensor x has the type 43, which ggml"},
		"IQ2_XXS":      {head(1, 0).tensor("x", 16, 0, 256).data(96), "tensor x is stored as IQ2_XXS; phi3"},
		"old Q4_2":     {head(1, 0).tensor("x", 4, 0, 256).data(96), "tensor x is stored as Q4_2; phi3"},
		"half a block": {head(1, 0).tensor("x", 2, 0, 48, 2).data(96), "has rows of 48, which are not"},
		"a scalar Q8_0": {
			head(1, 0).tensor("x", 8, 0).data(64), "has rows of 1, which are not whole blocks of 32 as Q8_0",
		},
		"beyond the file": {
			head(1, 0).tensor("x", 0, 0, 9).data(32), "tensor x takes 36 bytes from byte 64, but the",
		},
		"far beyond": {head(1, 0).tensor("x", 0, 0, 1<<60).data(32), "takes 4611686018427387904 bytes from"},
		"offset in the tensor before": {
			head(2, 0).tensor("x", 0, 0, 16).tensor("y", 0, 32, 8).data(96),
			"tensor y begins at byte 32 of the data, inside of the tensor before it, which takes",
		},
		"a hole": {
			head(2, 0).tensor("x", 0, 0, 8).tensor("y", 0, 64, 8).data(96),
			"tensor y begins at byte 64 of the data and leaves a hole: the bytes before it end at 32",
		},
		"offset without alignment": {
			head(2, 0).tensor("x", 0, 0, 7).tensor("y", 0, 28, 8).data(96), "tensor y begins at byte 28 of",
		},
		"offset of 2⁶⁴":  {head(1, 0).tensor("x", 0, math.MaxUint64-31, 8).data(32), "and leaves a hole"},
		"first offset":   {head(1, 0).tensor("x", 0, 32, 8).data(64), "and leaves a hole"},
		"no tensor data": {head(1, 0).tensor("x", 0, 0, 8).b, "takes 32 bytes from byte 64, but the file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse("f", test.file)
			require.ErrorContains(t, err, test.want)
			require.Less(t, len(err.Error()), 600)
		})
	}
	for i := range good { // a download that ended early
		_, err := parse("f", good[:i])
		require.Error(t, err, i)
	}
}

// What is refused although llama.cpp reads it, or read although it is unusual.
func TestUnusual(t *testing.T) {
	for name, file := range map[string][]byte{
		"version 2":             slices.Concat([]byte(magic), []byte{2}, head(0, 0).b[5:]),
		"no tensors":            head(0, 0).b,
		"a scalar":              head(1, 0).tensor("x", 0, 0).data(4),
		"empty tensor":          head(1, 0).tensor("x", 0, 0, 0, 1<<40).data(0),
		"bytes behind":          head(1, 0).tensor("x", 0, 0, 8).data(1000),
		"no padding at the end": head(1, 0).tensor("x", 0, 0, 3).data(12),
		"alignment 64 KiB":      head(0, 1).str(alignmentKey).u32(4).u32(1 << 16).b,
	} {
		_, err := parse("f", file)
		require.NoError(t, err, name)
	}
	// Data may begin at any address when general.alignment is 1.
	metadata, tensors := tiny()
	tensors[1] = entry("output_norm.weight", weight.F32, 2, 32)
	file := written(t, append(metadata, KV{alignmentKey, uint32(1)}), tensors)
	h, err := parse("f", file)
	require.NoError(t, err)
	require.Len(t, h.tensors, len(tensors))
	require.NotZero(t, h.data%2+h.tensors[2].offset%2+uint64(len(file))%2)
}

// What Write cannot make a right file of, it refuses, before it has written anything.
func TestWriteRejects(t *testing.T) {
	for want, test := range map[string]struct {
		metadata []KV
		tensors  []Entry
	}{
		"key k: occurs twice":                                    {[]KV{{"k", true}, {"k", true}}, nil},
		"key : the name has 0 bytes":                             {[]KV{{"", true}}, nil},
		"key k: has no value":                                    {[]KV{{"k", nil}}, nil},
		"key k: GGUF has no kind for a int":                      {[]KV{{"k", 1}}, nil},
		"key k: GGUF has no kind for a [][]int8":                 {[]KV{{"k", [][]int8{}}}, nil},
		"key k: string 0 is not UTF-8":                           {[]KV{{"k", "\xff"}}, nil},
		"general.alignment: must be a uint32 and a power of two": {[]KV{{alignmentKey, uint32(3)}}, nil},
		"tensor x: occurs twice": {
			nil, []Entry{entry("x", weight.F32, 0, 1), entry("x", weight.F32, 0, 1)},
		},
		"tensor x: has rows of 33":           {nil, []Entry{entryOf("x", weight.Q4_0, nil, 33)}},
		"tensor x: GGUF has no type for U8":  {nil, []Entry{entryOf("x", weight.U8, nil, 33)}},
		"tensor x: has 5 dimensions":         {nil, []Entry{entryOf("x", weight.F32, nil, 1, 1, 1, 1, 1)}},
		"the file would have more than 2^63": {nil, []Entry{entryOf("x", weight.I8, nil, math.MaxInt)}},
	} {
		var w countWrites
		require.ErrorContains(t, Write(&w, test.metadata, test.tensors), want)
		require.Zero(t, w)
	}
	for want, data := range map[string]int{
		"tensor x: 1 of its 8 bytes were not written":            7,
		"tensor x: more bytes than its format and shape require": 9,
	} {
		var w countWrites
		wrong := []Entry{entryOf("x", weight.F32, make([]byte, data), 2)}
		require.ErrorContains(t, Write(&w, nil, wrong), want)
		dir := t.TempDir()
		require.ErrorContains(t, WriteFile(dir+"/a.gguf", nil, wrong), want)
		requireEmpty(t, dir)
	}
}

type countWrites int

func (c *countWrites) Write(p []byte) (int, error) { *c++; return len(p), nil }

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
