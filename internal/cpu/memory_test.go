package cpu

import (
	"context"
	"math"
	"os"
	"reflect"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// The memory that a model takes besides its weights, which stay in their files, is what PlanMemory says.
func TestPlanMemory(t *testing.T) { onEveryPath(t, testPlanMemory) }

func testPlanMemory(t *testing.T) {
	for i, dir := range []string{"mini", "partial", "f32"} {
		for _, float32 := range []bool{false, true} {
			sequences := 1 + 19*i // that run at once: some have more than a usual number of rows of logits
			fsys := os.DirFS("../../testdata/" + dir)
			ckpt, err := model.Open(fsys)
			require.NoError(t, err)
			defer func() { require.NoError(t, ckpt.Close()) }()
			tokens := 1 << 16 / sequences / chunk * chunk // of the context of each
			maxTokens, err := MaxTokens()
			require.NoError(t, err)
			plan := model.NewPlan(ckpt.Config, ckpt.Tensors,
				model.Options{Context: tokens, MaxTokens: maxTokens, Sequences: sequences})
			planned := PlanMemory(plan, Options{Threads: 2, Float32: float32})
			require.Equal(t, weight.Sum(ckpt.Tensors).Bytes, planned.Weights)

			b, err := New(Options{Threads: 2, Float32: float32})
			require.NoError(t, err)
			before := heapInUse()
			m, err := model.Load(context.Background(), fsys, b,
				model.Options{Context: tokens, MaxTokens: b.MaxTokens(), Sequences: sequences})
			require.NoError(t, err)
			took := heapInUse() - before
			require.InDelta(t, planned.Workspace, took, 200_000, "%s, float32 %v: headers and tables apart",
				dir, float32)
			require.Equal(t, planned.Workspace, workspaceBytes(b)+matrixBytes(plan)+normBytes(plan))

			elem := 2
			if float32 {
				elem = 4
			}
			c := ckpt.Config
			c.HeadDim = kvDims(c) // heads of other widths than 64, 96, 128 are padded
			require.Equal(t, c.KVBytesPerToken(elem)*int64(tokens*sequences), planned.KV)
			require.NoError(t, m.Close())
		}
	}
}

// heapInUse returns the bytes of the heap that are in use. It collects garbage until the number has twice not
// fallen: what earlier tests have left may become garbage a moment later, when their goroutines end.
func heapInUse() int64 {
	var m runtime.MemStats
	for last, still := uint64(math.MaxUint64), 0; ; last = m.HeapAlloc {
		runtime.GC()
		runtime.ReadMemStats(&m)
		if m.HeapAlloc < last {
			still = 0
		} else if still++; still == 2 {
			return int64(m.HeapAlloc)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// workspaceBytes returns how much memory Plan has allocated in the slices of the backend. It uses reflection,
// so that no slice is forgotten.
func workspaceBytes(b *Backend) (n int64) {
	v := reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			n += bytesIn(f)
		}
	}
	return n
}

// bytesIn returns the memory of a slice, and of the slices in the structs that it points to.
func bytesIn(v reflect.Value) (n int64) {
	switch v.Kind() {
	case reflect.Slice:
		n = int64(v.Len()) * int64(v.Type().Elem().Size())
		if v.Type().Elem().Kind() == reflect.Pointer {
			for i := range v.Len() {
				n += bytesIn(v.Index(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			n = bytesIn(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += bytesIn(v.Field(i))
		}
	}
	return n
}

func matrixBytes(p *model.Plan) (n int64) {
	for _, m := range p.Matrices() {
		n += 4 * int64(m.Rows) * int64(m.Cols)
	}
	return n
}

func normBytes(p *model.Plan) (n int64) {
	for _, t := range p.Tensors {
		if len(t.Shape) == 1 {
			n += 4 * int64(t.Elems())
		}
	}
	return n
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

// The context is as many blocks as fit in the memory beside the margin. Memory that is too small even for the
// weights is not an error.
func TestContextThatFits(t *testing.T) {
	ckpt, err := model.Open(os.DirFS("../../testdata/mini"))
	require.NoError(t, err)
	defer func() { require.NoError(t, ckpt.Close()) }()
	config := *ckpt.Config
	config.MaxPositions = 131_072
	for _, float32 := range []bool{false, true} {
		fitted := func(memory int64) *model.Plan {
			p := model.NewPlan(&config, ckpt.Tensors, model.Options{})
			Fit(p, Options{Threads: 2, Float32: float32}, memory)
			return p
		}
		plan := model.NewPlan(&config, ckpt.Tensors, model.Options{})
		whole := PlanMemory(plan, Options{Threads: 2, Float32: float32})
		block := whole.KV / 1024
		for _, blocks := range []int64{17, 300, 1000} {
			need := whole.Total() - whole.KV + blocks*block + block/2
			p := fitted(need * 16 / 15)
			require.Equal(t, int(blocks*128), p.Context)
			require.Equal(t, need*16/15, p.FitIn)
			require.False(t, p.Short)
		}
		require.Equal(t, 131_072, fitted(2*whole.Total()).Context)
		b, err := New(Options{Threads: 2, Float32: float32})
		require.NoError(t, err)
		require.NoError(t, b.Plan(plan))
		require.Equal(t, 131_072, plan.Context, "memory that is not known")
		require.NoError(t, b.Close())
		for _, memory := range []int64{1, whole.Weights, whole.Total() - whole.KV + 15*block} {
			p := fitted(memory)
			require.Equal(t, 2048, p.Context)
			require.True(t, p.Short)
		}
	}
}
