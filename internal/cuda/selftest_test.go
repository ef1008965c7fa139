//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/tensorcore"
	"phi3/kernels"
)

// moduleKernels are the kernels of kernels/phi3.cu.
func moduleKernels(t testing.TB) (names []string) {
	t.Helper()
	source, err := fs.ReadFile(kernels.Sources, "phi3.cu")
	require.NoError(t, err)
	kernel := regexp.MustCompile(`(?m)^\s+KERNEL\((\w+)\)`)
	for _, match := range kernel.FindAllStringSubmatch(string(source), -1) {
		names = append(names, match[1])
	}
	require.Greater(t, len(names), 20)
	return names
}

// selfTestOf runs a self-test and, unless it is of some kernels only, wants a verdict on every one of the
// module: none is forgotten.
func selfTestOf(t *testing.T, settings selfTestSettings) *SelfTestReport {
	t.Helper()
	if checked {
		t.Skip("takes too long on a checked build")
	}
	var seen []KernelResult
	settings.onResult = func(k KernelResult) error {
		seen = append(seen, k)
		return nil
	}
	r, err := selfTest(context.Background(), Options{}, settings)
	require.NoError(t, err)
	t.Log(r.Line())
	require.Equal(t, seen, r.Kernels)
	var names []string
	for _, k := range r.Kernels {
		names = append(names, k.Kernel)
		require.NotEmpty(t, k.Against, k.Kernel)
	}
	if settings.only == "" {
		require.ElementsMatch(t, append(moduleKernels(t), TensorCores), names)
	}
	return r
}

// The self-test passes on the architectures that the description of tensor cores is of: every sum has the
// very bits. It does so also where a block has too little shared memory for the products with the norm
// inside.
func TestSelfTestPasses(t *testing.T) {
	for _, c := range []struct {
		settings string
		only     string
	}{
		{"compute=9.0", ""},
		{"compute=8.9;shared=101376;sms=3", ""},
		{"compute=8.0", TensorCores},
		{"compute=12.0", TensorCores},
	} {
		t.Run(c.settings, func(t *testing.T) {
			if !onGPU {
				emulate(t, c.settings)
			} else if c.settings != "compute=9.0" {
				t.Skip("for the emulator")
			}
			r := selfTestOf(t, selfTestSettings{only: c.only})
			require.Empty(t, r.Error)
			require.True(t, r.Passed)
			for _, k := range r.Kernels {
				want := VerdictExact
				if regexp.MustCompile("^(rms_norm|reference|attention|.*gate_up)").MatchString(k.Kernel) {
					want = VerdictOK
				}
				require.Equal(t, want, k.Verdict, k.Kernel)
				require.NotEmpty(t, k.Variants, k.Kernel)
				require.Empty(t, k.Note, k.Kernel)
				require.LessOrEqual(t, k.Worst, 1.0, k.Kernel)
				require.Positive(t, float64(k.Values)+k.Worst, k.Kernel)
			}
		})
	}
}

// A card whose tensor cores add differently passes, and is told so: its sums are not wrong.
func TestSelfTestTellsOtherSumsFromWrongOnes(t *testing.T) {
	emulate(t, "compute=9.0")
	for _, only := range []string{TensorCores, "linear_decode_bf16"} {
		r := selfTestOf(t, selfTestSettings{only: only, sums: &tensorcore.Ampere})
		require.True(t, r.Passed)
		for _, k := range r.Kernels {
			if regexp.MustCompile("gate_up").MatchString(k.Kernel) { // rounding to bfloat16 hides most of it
				require.Contains(t, []Verdict{VerdictOK, VerdictDiffers}, k.Verdict, k.Kernel)
				continue
			}
			require.Equal(t, VerdictDiffers, k.Verdict, k.Kernel)
			require.Positive(t, k.Other, k.Kernel)
			require.Equal(t, differsNote, k.Note)
		}
		require.Contains(t, r.Line(), "differs ("+r.Kernels[0].Kernel)
	}
}

// A fault ends the self-test. The report names the kernel and has the verdicts up to there.
func TestSelfTestEndsAtAFault(t *testing.T) {
	emulate(t, "fault=linear_add_decode_f16")
	r := selfTestOf(t, selfTestSettings{})
	require.False(t, r.Passed)
	require.Regexp(t,
		`^linear_add_decode_f16: cuStreamSynchronize: .*ILLEGAL_ADDRESS.*; the self-test ends there: `,
		r.Error)
	require.Contains(t, r.Line(), r.Error)
	require.Equal(t, []string{"linear_add_decode_f16"}, r.Failed())
	verdicts := map[string]Verdict{}
	for _, k := range r.Kernels {
		verdicts[k.Kernel] = k.Verdict
		require.Zero(t, k.Other, "%s: nothing is counted that did not come from the GPU", k.Kernel)
		require.LessOrEqual(t, k.Worst, 1.0, k.Kernel)
		require.NotNil(t, k.Variants, "a list in JSON")
	}
	require.Equal(t, VerdictExact, verdicts["embed"])
	require.Equal(t, VerdictExact, verdicts[TensorCores])
	require.Equal(t, VerdictNotDone, verdicts["kv_append"])
}

// A fault in the first kernel that the tensor cores are asked through is that kernel's.
func TestSelfTestNamesTheFaultyKernel(t *testing.T) {
	emulate(t, "fault=linear_decode_bf16")
	r := selfTestOf(t, selfTestSettings{})
	require.Equal(t, []string{"linear_decode_bf16"}, r.Failed())
	for _, k := range r.Kernels {
		require.Zero(t, k.Other, k.Kernel)
		require.Equal(t, k.Kernel == TensorCores,
			k.Verdict == VerdictNotDone && k.Against == "the published description, float64")
	}
}

// Too little memory is no kernel's fault.
func TestSelfTestWithoutMemory(t *testing.T) {
	emulate(t, "fail-alloc=20")
	r := selfTestOf(t, selfTestSettings{})
	require.False(t, r.Passed)
	require.Empty(t, r.Failed())
	require.Regexp(t, `^cuMemAlloc of \d+ bytes: out of memory`, r.Error)
	require.Equal(t, VerdictNotDone, r.Kernels[len(r.Kernels)-1].Verdict)
}

// Kernels that do not load are a failure with a report, too.
func TestSelfTestWithoutKernels(t *testing.T) {
	emulate(t, "jit-error=ptxas fatal: no such instruction")
	r, err := SelfTest(context.Background(), Options{}, nil)
	require.NoError(t, err)
	require.False(t, r.Passed)
	require.Equal(t, []KernelResult{}, r.Kernels, "a list in JSON")
	require.Contains(t, r.Error, "ptxas fatal: no such instruction")
	require.NotContains(t, r.Line(), "\n")
	require.Contains(t, r.Line(), "no code; sums as sm_90; ended early: ")
}

// Whoever listens can end it, and so can the context.
func TestSelfTestIsEnded(t *testing.T) {
	enough := errors.New("enough")
	_, err := SelfTest(context.Background(), Options{}, func(KernelResult) error { return enough })
	require.Equal(t, enough, err)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	_, err = SelfTest(ctx, Options{}, func(KernelResult) error {
		n++
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, n)
	_, err = SelfTest(context.Background(), Options{Device: 7}, nil)
	require.ErrorContains(t, err, "there is no GPU 7")
}

// What a tally finds decides the verdict; NaN is an error of any size.
func TestTally(t *testing.T) {
	at := func(s ...float64) func(int) float64 { return func(i int) float64 { return s[i] } }
	nan := math.NaN()
	oneNaN, minusZero := []float32{math.Float32frombits(0x7fffffff)}, []float32{float32(math.Copysign(0, -1))}
	for _, c := range []struct {
		name string
		f    func(*tally)
		want Verdict
		note string
	}{
		{"nothing", func(*tally) {}, VerdictExact, ""},
		{"same", func(t *tally) { same(t, "mine", "here", []int{1, 2}, []int{1, 2}) }, VerdictExact, ""},
		{
			"others", func(t *tally) { same(t, "mine", "here", []int{1, 2}, []int{1, 3}) },
			VerdictFail, "here: 1 of 2 values are not mine; value 1 is 2, not 3",
		},
		{"other sums", func(t *tally) { t.described(oneNaN, minusZero) }, VerdictDiffers, differsNote},
		{"minus zero", func(t *tally) { t.described([]float32{0}, minusZero) }, VerdictDiffers, differsNote},
		{"some NaN", func(t *tally) { t.described(oneNaN, []float32{float32(nan)}) }, VerdictExact, ""},
		{"near", func(t *tally) { t.near("his", "", 2, at(1, 2), at(1, 2.5), at(0, 0.5)) }, VerdictExact, ""},
		{
			"far", func(t *tally) { t.near("his", "here", 1, at(1), at(2), at(0.5)) },
			VerdictFail, "here: value 0 is 1, and his has 2 ± 0.5",
		},
		{
			"NaN", func(t *tally) { t.near("his", "here", 1, at(nan), at(2), at(0.5)) },
			VerdictFail, "here: value 0 is NaN, and his has 2 ± 0.5",
		},
	} {
		of := &tally{best: VerdictExact, bench: &workbench{}}
		c.f(of)
		r := of.result()
		require.Equal(t, c.want, r.Verdict, c.name)
		require.Equal(t, c.note, r.Note, c.name)
		require.False(t, math.IsNaN(r.Worst), c.name)
		require.Equal(t, c.want != VerdictFail, r.Worst <= 1 && r.Passed(), c.name)
	}
}
