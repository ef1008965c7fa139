//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
)

func freeMemory(t testing.TB, d *device) int {
	t.Helper()
	var free int64
	require.NoError(t, d.do(func() (err error) {
		free, _, err = d.memInfo()
		return err
	}))
	return int(free)
}

// gpuTolerance is by how much a model on a real GPU may exceed its plan. It is as large as the reserve,
// because no driver has been measured. The test logs the difference.
const gpuTolerance = reserve

// TestMemoryPlan: a model takes what was planned for it, apart from the driver's reserve and rounding to
// pages. With one byte less it is refused.
func TestMemoryPlan(t *testing.T) {
	for _, dir := range checkpoints(t) {
		for _, float32 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, float32: %v", filepath.Base(dir), float32), func(t *testing.T) {
				watcher := open(t) // keeps the context, and so what another one leaves in it
				before := freeMemory(t, watcher)
				var plan memoryPlan
				load := func() (*model.Model, error) {
					b := planned{Backend: openTest(t, Options{Float32: float32})}
					b.after = func(p *model.Plan) { plan = planMemory(p, float32, p.Blocks()) }
					return loadOn(b, dir)
				}
				m, err := load()
				require.NoError(t, err)
				used := before - freeMemory(t, watcher)
				need := int(plan.Total())
				if onGPU { // the driver takes memory for itself
					t.Logf("took %+d bytes more than the plan, whose reserve is %d", used-need, reserve)
					require.LessOrEqual(t, used, need+gpuTolerance)
					require.NoError(t, m.Close())
					return
				}
				require.LessOrEqual(t, used, need-reserve, "the driver here needs nothing for itself")
				require.Greater(t, used, need-reserve-10*(2<<20),
					"of allocations that can share no page there are not ten here")
				require.NoError(t, m.Close())
				require.Equal(t, before, freeMemory(t, watcher))

				emulate(t, fmt.Sprint("free=", need))
				m, err = load()
				require.NoError(t, err)
				require.NoError(t, m.Close())

				emulate(t, fmt.Sprint("free=", need-1))
				_, err = load()
				require.EqualError(t, err,
					fmt.Sprintf("emulator 0: too little memory: the weights (%s), a KV cache of 384 tokens "+
						"(%s) and the workspace (%s) make %s, but %s are free", needed(plan.Weights),
						needed(plan.KV), needed(plan.Workspace), needed(plan.Total()),
						available(int64(need-1))))
				emulate(t, fmt.Sprint("free=", plan.Weights-1))
				_, err = load()
				var tooLittle *TooLittleError
				require.ErrorAs(t, err, &tooLittle)
				require.Zero(t, tooLittle.Fits)
				emulate(t, "")
				require.Equal(t, before, freeMemory(t, watcher))
			})
		}
	}
}

// TestFailedAllocations: whichever allocation of a load fails, all memory is freed.
func TestFailedAllocations(t *testing.T) {
	emulate(t, "")
	watcher := open(t)
	before := freeMemory(t, watcher)
	made := 0 // allocations in the life of the context
	for n := 1; ; n++ {
		emulate(t, fmt.Sprint("fail-alloc=", made+n))
		m, err := loadOn(openTest(t, Options{}), mini)
		if err == nil {
			require.Greater(t, n, 20, "allocations of a load")
			require.NoError(t, m.Close())
			break
		}
		made += n
		require.Regexp(t, `^(load tensor \S+: )?emulator 0: cuMemAlloc of \d+ bytes: out of memory `+
			`\(CUDA_ERROR_OUT_OF_MEMORY\)$`, err.Error())
		require.Equal(t, before, freeMemory(t, watcher), "after allocation %d failed", n)
	}
	require.Equal(t, before, freeMemory(t, watcher))
}
