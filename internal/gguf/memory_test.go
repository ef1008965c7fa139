//go:build !race

package gguf

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

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

// Whatever a header says, opening the file takes a small multiple of the header's size, the same as for a
// safetensors file, and little time.
func TestMemoryIsInProportion(t *testing.T) {
	const multiple = 25
	array := func(kind uint32, n uint64, bytes int) []byte {
		r := head(0, 1).str("tokenizer.ggml.tokens").u32(9).u32(kind).u64(n)
		return append(r.b, make([]byte, bytes)...)
	}
	keys := func(n int, kind uint32, value ...byte) []byte {
		r := head(0, uint64(n))
		for i := range n {
			r.str(fmt.Sprintf("%x", i)).u32(kind)
			r.b = append(r.b, value...)
		}
		return r.b
	}
	tensors := func(n int, dims ...uint64) []byte {
		r := head(uint64(n), 0)
		for i := range n {
			r.tensor(fmt.Sprintf("%x", i), 0, 0, dims...)
		}
		return r.data(32)
	}
	model, entries := tiny()
	ends := make([]string, 200_000)
	for i := range ends {
		ends[i] = "<|end|>"
	}
	model[8].Value, model[9].Value = ends, make([]int32, len(ends))
	entries[0].Shape = []int{len(ends), 0}
	entries[0].WriteTo = entryOf("", entries[0].Format, nil).WriteTo
	for name, file := range map[string][]byte{
		"many keys":          keys(100_000, 7, 1),
		"many strings":       keys(100_000, 8, 0, 0, 0, 0, 0, 0, 0, 0),
		"many empty arrays":  keys(100_000, 9, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"an array of texts":  array(8, 1<<18, 8<<18),
		"an array of bytes":  array(0, 1<<21, 1<<21),
		"an array of bools":  array(7, 1<<21, 1<<21),
		"many tensors":       tensors(100_000),
		"tensors of rank 4":  tensors(100_000, 0, 1<<60, 1<<60, 1<<60),
		"tensors of nothing": tensors(100_000, 0),
		"a long string": append(head(0, 1).str("k").u32(8).u64(1<<21).b,
			strings.Repeat("x", 1<<21)...),
		"a long text of marks": append(head(0, 1).str("k").u32(8).u64(1<<21).b,
			strings.Repeat("\xe2\x80\xa8", 1<<21/3)...),
		"many ends": written(t, model, entries),
	} {
		start := time.Now()
		fsys := fstest.MapFS{"a.gguf": {Data: file}}
		got := allocated(func() { _, _ = Open(fsys, "a.gguf") })
		got -= 3 * len(file) // fs.ReadFile, where a file of the operating system is mapped
		t.Logf("%-20s %5.1f %6d ms", name, float64(got)/float64(len(file)), time.Since(start).Milliseconds())
		require.Less(t, got, multiple*len(file)+1<<16, name)
		require.Less(t, time.Since(start), 2*time.Minute, name)
	}
	// What lies and is found out costs nothing.
	for _, n := range []uint64{1 << 20, 1 << 30, 1 << 40, 1<<64 - 1} {
		for name, file := range map[string][]byte{
			"key":     head(0, 1).u64(n).data(64),
			"string":  head(0, 1).str("k").u32(8).u64(n).data(64),
			"array":   head(0, 1).str("k").u32(9).u32(8).u64(n).data(64),
			"counts":  binary.LittleEndian.AppendUint64(head(n, n).b[:16], n),
			"keys":    head(0, n).data(64),
			"tensors": head(n, 0).data(64),
			"shape":   head(1, 0).tensor("x", 0, 0, n).data(64),
		} {
			require.Less(t, allocated(func() { _, _ = parse("f", file) }), 1<<14, name)
		}
	}
}
