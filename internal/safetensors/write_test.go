package safetensors

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

func TestWriteIsOrderedAndAligned(t *testing.T) {
	a := source("a", weight.BF16, []int{1}, []byte{1, 2})
	b := source("b", weight.F32, nil, []byte{3, 4, 5, 6})
	c := source("c", weight.F16, []int{1, 1}, []byte{7, 8})
	var one, two bytes.Buffer
	require.NoError(t, Write(&one, []Entry{a, b, c}, map[string]string{"k": "v", "format": "pt"}))
	require.NoError(t, Write(&two, []Entry{c, b, a}, map[string]string{"format": "pt", "k": "v"}))
	require.Equal(t, one.Bytes(), two.Bytes())
	require.Equal(t, []byte{3, 4, 5, 6, 1, 2, 7, 8}, one.Bytes()[one.Len()-8:])
	n, err := HeaderBytes([]Entry{a, b, c}, map[string]string{"k": "v", "format": "pt"})
	require.NoError(t, err)
	require.Equal(t, one.Len()-8, n)
	require.Zero(t, n%8)
}

func TestWriteErrors(t *testing.T) {
	disk := errors.New("disk full")
	failing := Entry{"x", weight.F16, []int{1}, func(io.Writer) error { return disk }}
	ok := source("x", weight.F16, []int{1}, make([]byte, 2))
	for name, c := range map[string]struct {
		tensors  []Entry
		metadata map[string]string
		want     string
	}{
		"too few bytes": {
			[]Entry{source("x", weight.F16, []int{2}, make([]byte, 3))},
			nil,
			`tensor "x": 1 of its 4 bytes were not written`,
		},
		"too many bytes": {
			[]Entry{source("x", weight.F16, []int{1}, make([]byte, 3))},
			nil,
			`tensor "x": more bytes than`,
		},
		"source fails": {[]Entry{failing}, nil, `tensor "x": disk full`},
		"twice":        {[]Entry{ok, ok}, nil, `tensor "x": name is reserved or taken`},
		"reserved": {
			[]Entry{source(metadataKey, weight.F16, nil, nil)}, nil, "name is reserved or taken",
		},
		"name not UTF-8": {[]Entry{source("\xff", weight.F16, nil, nil)}, nil, "not valid UTF-8"},
		"metadata":       {nil, map[string]string{"a": "\xff"}, `metadata "a": not valid UTF-8`},
		"no format":      {[]Entry{source("x", 0, nil, nil)}, nil, `tensor "x": its format is not given`},
		"negative": {
			[]Entry{source("x", weight.F16, []int{-1}, nil)},
			nil,
			`tensor "x": shape [-1] has a negative`,
		},
		"overflow": {
			[]Entry{source("x", weight.F16, []int{1 << 30, 1 << 30, 1 << 30}, nil)},
			nil,
			`tensor "x": shape`,
		},
		"too deep a shape": {
			[]Entry{source("x", weight.F16, make([]int, 65), nil)},
			nil,
			`tensor "x": has 65 dimensions`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, Write(io.Discard, c.tensors, c.metadata), c.want)
		})
	}
}
