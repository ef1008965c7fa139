//go:build !race

package safetensors

import (
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// allocated is how many bytes f allocates, all of them together, whether or not they are garbage soon.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// Whatever a header or an index says, reading it takes a small multiple of its own size, and no more. (All
// that is ever allocated is counted; what is in use at a time is less.)
func TestMemoryIsInProportion(t *testing.T) {
	const multiple = 25
	for name, header := range map[string]string{
		"many tensors": `{` + repeated(20_000, `"#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`) +
			`}`,
		"many dimensions": `{` +
			repeated(5_000, `"#":{"dtype":"U8","shape":[0`+strings.Repeat(",9", 63)+
				`],"data_offsets":[0,0]}`) + `}`,
		"too many dimensions": `{"x":{"dtype":"U8","shape":[0` + strings.Repeat(",9", 500_000) +
			`],"data_offsets":[0,0]}}`,
		"huge dimensions": `{"x":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}` + strings.Repeat(" ", 1<<20),
		"many offsets": `{"x":{"dtype":"U8","shape":[0],"data_offsets":[0` +
			strings.Repeat(",0", 500_000) + `]}}`,
		"much metadata":   `{"__metadata__":{` + repeated(80_000, `"#":""`) + `}}`,
		"unknown fields":  `{"x":{` + repeated(80_000, `"#":{}`) + `}}`,
		"unknown lists":   `{"x":{"y":[` + strings.Repeat("[],", 500_000) + `[]]}}`,
		"unknown objects": `{"x":{"y":[` + strings.Repeat("{},", 500_000) + `{}]}}`,
		"unknown numbers": `{"x":{"y":[` + strings.Repeat("0,", 500_000) + `0]}}`,
		"deep": `{"x":{"y":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}}` +
			strings.Repeat(" ", 1<<20),
		"long name": `{"` + strings.Repeat("x", 1<<20) +
			`":{"dtype":"U8","shape":[1],"data_offsets":[0,0]}}`,
		"escapes": `{"` + strings.Repeat(`\n`, 1<<19) +
			`":{"dtype":"Q","shape":[1],"data_offsets":[0,0]}}`,
		"long dtype": `{"x":{"dtype":"` + strings.Repeat("x", 1<<20) +
			`","shape":[1],"data_offsets":[0,0]}}`,
	} {
		file := fileOf(header, 0)
		got := allocated(func() { _, _ = parse("f", file) })
		t.Logf("%-20s %5.1f", name, float64(got)/float64(len(file)))
		require.Less(t, got, multiple*len(file)+1<<16, name)
	}
	for name, index := range map[string]string{
		"many shards":   `{"weight_map":{` + repeated(80_000, `"#":"#.safetensors"`) + `}}`,
		"many tensors":  `{"weight_map":{` + repeated(80_000, `"#":"a.safetensors"`) + `}}`,
		"many keys":     `{` + repeated(80_000, `"#":0`) + `}`,
		"deep metadata": `{"metadata":[` + strings.Repeat("[],", 300_000) + `0]}`,
	} {
		fsys := fstest.MapFS{indexName: {Data: []byte(index)}}
		got := allocated(func() { _, _ = Open(fsys) })
		t.Logf("%-20s %5.1f", name, float64(got)/float64(len(index)))
		require.Less(t, got, multiple*len(index)+1<<16, name)
	}
	// What lies and is found out costs nothing.
	for _, n := range []uint64{1 << 20, 100_000_000, 1 << 40, 1<<64 - 1} {
		file := withLength(n)
		require.Less(t, allocated(func() { _, _ = parse("f", file) }), 1<<16, n)
	}
}
