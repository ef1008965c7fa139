package cpu

import (
	"context"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
)

// What a model takes beside its weights, which stay in their files, is what was planned for it: nothing forgotten, nothing twice.
func TestPlanMemory(t *testing.T) { onEveryPath(t, testPlanMemory) }

func testPlanMemory(t *testing.T) {
	for _, dir := range []string{"mini", "partial", "f32"} {
		for _, float32 := range []bool{false, true} {
			fsys := os.DirFS("../../testdata/" + dir)
			ckpt, err := model.Open(fsys)
			require.NoError(t, err)
			defer func() { require.NoError(t, ckpt.Close()) }()
			const tokens = 1 << 16
			planned, err := PlanMemory(ckpt.Config, ckpt.Tensors, Options{Threads: 2, Float32: float32}, tokens)
			require.NoError(t, err)
			require.Equal(t, ckpt.DataBytes(), planned.Weights)

			var before, after runtime.MemStats
			b, err := New(Options{Threads: 2, Float32: float32})
			require.NoError(t, err)
			runtime.GC() // what was allocated and given up again does not count
			runtime.ReadMemStats(&before)
			m, err := model.Load(context.Background(), fsys, b, model.Options{Context: tokens, MaxTokens: b.MaxTokens()})
			require.NoError(t, err)
			runtime.GC()
			runtime.ReadMemStats(&after)
			took := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			require.InDelta(t, planned.Workspace, took, 200_000, "%s, float32 %v: headers and tables apart", dir, float32)

			elem := 2
			if float32 {
				elem = 4
			}
			c := ckpt.Config
			c.HeadDim = kvDims(c) // heads of other widths than 64, 96, 128 are padded
			require.Equal(t, c.KVBytesPerToken(elem)*tokens, planned.KV)
			require.NoError(t, m.Close())
		}
	}
}

func TestMakeLarge(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 3 << 20} {
		x := makeLarge[float32](n)
		require.Len(t, x, n)
		require.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(x)))%64)
		for i := range x {
			if x[i] != 0 {
				t.Fatalf("element %d of %d is not 0", i, n)
			}
			x[i] = float32(i)
		}
		runtime.GC()
		for i := range x {
			if x[i] != float32(i) {
				t.Fatalf("element %d of %d is %v after a collection", i, n, x[i])
			}
		}
	}
}
