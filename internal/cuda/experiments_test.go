//go:build cuda && linux && cgo

package cuda

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/kernels/emulator"
)

// The experiments measure what a GPU can do before the program relies on it:
//
//	make internal/cuda/testdata/experiments.fatbin
//	PHI3_TEST_GPU=1 go test -tags cuda ./internal/cuda -v -run '^$' \
//		-bench '^BenchmarkExperiment$' -benchtime 20x
//
// A question is a sub-benchmark, -bench '^BenchmarkExperiment$/^read$', and a figure one of its own below
// that. If a question has kernels, the head of its file in kernels/experiments says what it asks and how
// to read the figures. GB/s and TFLOP/s are by the GPU's clock; %read and %copy compare GB/s with the
// fastest read and with a copy, measured on the same memory just before. Results are checked before they
// are timed. A figure that this GPU cannot give is skipped; -v shows the reason.
//
// TestExperiments runs what the emulator can run, once and with small sizes.
var questions = []struct {
	name string
	ask  func(*experiment)
}{
	{"read", askRead},
	{"empty", askEmpty},
	{"chain", askChain},
	{"carve-out", askCarveOut},
	{"attention", askAttention},
	{"token", askToken},
	{"batch", askBatch},
	{"quantized", askQuantized},
	{"barrier", askBarrier},
	{"wgmma", askWGMMA},
}

func BenchmarkExperiment(b *testing.B) {
	for _, q := range questions {
		if b.Run(q.name, func(b *testing.B) { q.ask(openExperiment(b)) }) {
			continue
		}
		d, err := openDevice(0) // after a fault it does not open
		if err == nil {
			err = d.close()
		}
		stopIfLost(q.name, err)
	}
}

func TestExperiments(t *testing.T) {
	if onGPU {
		t.Skip("on a GPU the benchmark is the test: -bench '^BenchmarkExperiment$'")
	}
	for _, q := range questions {
		t.Run(q.name, func(t *testing.T) { q.ask(openExperiment(t)) })
	}
}

// experimentMutants are mistakes in the experiments' kernels.
var experimentMutants = []mutant{
	{
		"words left out", "read.cu",
		"sum += words_sum(ring[slot * READ_THREADS]);", "",
		"^TestExperiments$/^read$", "the sum of all words",
	},
	{
		"words that are still in flight", "read.cu",
		"cp_async_wait<STAGES - 1>();", "", "^TestExperiments$/^read$", inFlight,
	},
	{
		"a launch that does not count", "empty.cu",
		"args.number + 1;", "args.number;", "^TestExperiments$/^empty$", "the counter after the chain",
	},
	{
		"a join without the last chunk", "join.cu",
		"chunk <= to - h.first_chunk", "chunk < to - h.first_chunk",
		"^TestExperiments$/^attention$/^2k$", "the bits of the program's join",
	},
}

// TestExperimentMutants plants them. The experiments' checks must notice each.
func TestExperimentMutants(t *testing.T) {
	forTheEmulator(t)
	for _, m := range experimentMutants {
		t.Run(m.name, func(t *testing.T) {
			library, err := emulator.BuildMutant(t.TempDir(), emulator.Checked,
				emulator.Mutant{File: "experiments/" + m.file, Old: m.old, Mistake: m.mistake},
				experimentKernels(t)...)
			require.NoError(t, err)
			output, err := runOn(t, library, m.test)
			require.Error(t, err, "not noticed")
			require.Regexp(t, m.want, output)
		})
	}
}

// experiment is a device with the experiments' kernels.
type experiment struct {
	testing.TB // the question's benchmark or test
	*device
	module cu.Module
	stream cu.Stream
	copies float64 // GB/s of a copy, once measured
	reads  float64 // GB/s of the fastest read, once measured
}

func openExperiment(tb testing.TB) *experiment {
	image := []byte("the emulator takes any")
	if onGPU {
		var err error
		image, err = os.ReadFile("testdata/experiments.fatbin")
		if errors.Is(err, fs.ErrNotExist) {
			tb.Skip("the experiments are not compiled: make internal/cuda/testdata/experiments.fatbin")
		}
		require.NoError(tb, err)
	} else if !checked { // otherwise TestExperimentMutants has built it
		library, err := emulator.Build(emulator.Checked, experimentKernels(tb)...) // sizes are small: seconds
		require.NoError(tb, err)
		useDriver(tb, library)
	}
	x := &experiment{TB: tb, device: open(tb)}
	x.must(tb, func() (err error) {
		if x.module, err = x.loadModule(image); err != nil {
			return fmt.Errorf("the experiments' kernels: %w", err)
		}
		x.stream, err = x.newStream()
		return err
	})
	return x
}

// experimentKernels are the experiments' files, and the names of the kernels that the emulator can run.
func experimentKernels(tb testing.TB) (extra []emulator.Extra) {
	names := []string{
		serialKernel, "empty", "empty_pdl", "fill_bf16", "fill_words", "in_order", "in_order_pdl",
	}
	for _, kb := range readKB {
		names = append(names, fmt.Sprint("read_ldg_", kb), fmt.Sprint("read_cp_async_", kb))
	}
	const dir = "../../kernels/experiments/"
	files, err := filepath.Glob(dir + "*.cu*")
	require.NoError(tb, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(tb, err)
		e := emulator.Extra{Name: "experiments/" + filepath.Base(file), Text: text}
		if e.Name == "experiments/experiments.cu" {
			e.Kernels = names
		}
		extra = append(extra, e)
	}
	return extra
}

// sized is full on a GPU, and little on the emulator and with -short.
func sized[T any](full, little T) T {
	if onGPU && !testing.Short() {
		return full
	}
	return little
}
