package cpu

import (
	"math/rand"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// Go preempts goroutines with signals and moves them between processors, and a garbage collection stops all
// of them. The sums in the tiles must not change.
func TestAMXUnderPreemption(t *testing.T) {
	if !slices.Contains(nativeKernels(), amxKernels) {
		t.Skip("this processor or operating system has no AMX")
	}
	t.Setenv(pathVariable, amxKernels.name)
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	const k, cols, tokens = 1024, 96, 40
	rng := rand.New(rand.NewSource(1))
	data, _ := stored(weight.BF16, normals(rng, cols*k))
	x := normals(rng, tokens*k)
	goRoundBF16(x)
	multiply := func(b *Backend, w model.Weight, tokens int) []float32 {
		y := make([]float32, tokens*cols)
		b.product(y, cols, input{x: x[:tokens*k]}, w, store)
		return y
	}
	open := func() (*Backend, model.Weight) {
		b := newBackend(t, Options{Threads: 2},
			&model.Config{HiddenSize: k, IntermediateSize: cols, Heads: 1, KVHeads: 1}, tokens, 0)
		w, err := b.Upload(&weight.Tensor{
			Name: "w", Format: weight.BF16, Shape: []int{cols, k},
			Data: data,
		})
		require.NoError(t, err)
		return b, w
	}
	b, w := open()
	want := multiply(b, w, tokens)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	var workers sync.WaitGroup
	for range 8 {
		b, w := open()
		workers.Go(func() {
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				for _, tokens := range []int{tokens, 1, 7} {
					if !slices.Equal(want[:tokens*cols], multiply(b, w, tokens)) {
						t.Errorf("a product of %d tokens has other bits", tokens)
						return
					}
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	wg.Wait()
}

// TDPBF16PS is computed here in float32. The product of two bfloat16 is exact in float32, so each addition
// rounds once, as a fused multiply-add does.
func TestAMXOrder(t *testing.T) {
	if !slices.Contains(nativeKernels(), amxKernels) {
		t.Skip("this processor or operating system has no AMX")
	}
	t.Setenv(pathVariable, amxKernels.name)
	rng := rand.New(rand.NewSource(2))
	const k, cols = 32*5 + 7, 40
	b := newBackend(t, Options{Threads: 1},
		&model.Config{HiddenSize: k, IntermediateSize: cols, Heads: 1, KVHeads: 1}, 1, 0)
	w, values := upload(t, b, rng, cols, k)
	for range 50 {
		x, y, want := normals(rng, k), make([]float32, cols), make([]float32, cols)
		goRoundBF16(x)
		b.product(y, cols, input{x: x}, w, store)
		for n := range want {
			for step := 0; step < k; step += 32 {
				var sums [2]float32 // of even and of odd k
				for i := step; i < min(step+32, k); i++ {
					sums[i%2] += float32(values[n*k+i] * x[i])
				}
				want[n] += sums[0] + sums[1]
			}
		}
		require.Equal(t, want, y)
	}
}

// Without permission to use the tiles, the next path is chosen, and PHI3_CPU=amx is an error.
func TestTilesRefused(t *testing.T) {
	allowed := tilesAllowed
	defer func() { tilesAllowed = allowed }()
	tilesAllowed = func() bool { return false }
	require.NotContains(t, nativeKernels(), amxKernels)
	t.Setenv(pathVariable, amxKernels.name)
	_, err := New(Options{})
	require.ErrorContains(t, err, `$PHI3_CPU is "amx"; this processor can run: `)
}
