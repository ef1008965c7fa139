//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"gorgonia.org/cu"

	"phi3/internal/tensorcore"
)

// SelfTest runs every kernel of the program on a GPU, on random data in the shapes that the backend uses.
// It compares the results with the published arithmetic of tensor cores, with float64 and with the
// reference kernels, and it compares decode with prefill. onResult, if set, is called with each verdict.
//
// An error means that the GPU cannot be opened, or that ctx or onResult ended the self-test. The report
// has everything else that went wrong.
func SelfTest(ctx context.Context, o Options, onResult func(KernelResult) error) (*SelfTestReport, error) {
	return selfTest(ctx, o, selfTestSettings{onResult: onResult})
}

// selfTestSettings are those of SelfTest, and some for its own tests.
type selfTestSettings struct {
	onResult func(KernelResult) error
	only     string           // a kernel: only its group is checked
	sums     *tensorcore.Arch // how tensor cores are expected to add; nil: like this GPU's generation
}

// tester is a self-test in progress.
type tester struct {
	*workbench
	k       *kernelSet
	sums    tensorcore.Arch
	tallies map[string]*tally
	stop    func() bool // whether to end early
}

// kernelGroup is some kernels that are checked together.
type kernelGroup struct {
	kernels []kernelCheck
	run     func(*tester)
}

// kernelCheck says how one of them is judged.
type kernelCheck struct {
	name    string
	best    Verdict // if nothing is wrong
	against string  // what its results are compared with
}

func selfTest(ctx context.Context, o Options, settings selfTestSettings) (*SelfTestReport, error) {
	start := time.Now()
	d, err := openDevice(o.Device)
	if err != nil {
		return nil, err
	}
	t := &tester{workbench: newWorkbench(d), sums: tensorcore.For(d.Major), tallies: map[string]*tally{}}
	t.stop = func() bool { return t.err != nil || ctx.Err() != nil }
	if settings.sums != nil {
		t.sums = *settings.sums
	}
	r := &SelfTestReport{
		Card:    d.Name,
		Driver:  driverVersion(),
		CUDA:    cudaVersion(cu.Version()),
		Compute: fmt.Sprintf("%d.%d", d.Major, d.Minor),
		Sums:    t.sums.String(),
		Code:    "no code",
		Kernels: []KernelResult{},
	}
	t.do(func() (err error) {
		if t.k, err = d.loadKernels(o.Compiling); err == nil {
			r.Code = t.k.code.String()
		}
		return err
	})
	if t.err == nil {
		r.Kernels, err = t.judge(ctx, settings)
	}
	closed := d.close() // after a fault it returns the same error
	if err != nil {
		return nil, err
	}
	switch {
	case t.at != "":
		r.Error = fmt.Sprintf("%s: %v; the self-test ends there: after a fault a GPU runs nothing more",
			t.at, t.err)
	case t.err != nil:
		r.Error = t.err.Error()
	case closed != nil:
		r.Error = closed.Error()
	}
	failed := func(k KernelResult) bool { return !k.Passed() }
	r.Passed = r.Error == "" && !slices.ContainsFunc(r.Kernels, failed)
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// judge gives the verdicts on all kernels.
func (t *tester) judge(ctx context.Context, settings selfTestSettings) (all []KernelResult, err error) {
	for _, group := range kernelGroups() {
		wanted := func(k kernelCheck) bool { return settings.only == "" || k.name == settings.only }
		if !slices.ContainsFunc(group.kernels, wanted) {
			continue
		}
		for _, k := range group.kernels {
			result := KernelResult{Kernel: k.name, Against: k.against, Variants: []string{}}
			t.tallies[k.name] = &tally{KernelResult: result, best: k.best, bench: t.workbench}
		}
		if t.err == nil {
			group.run(t)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for _, k := range group.kernels {
			result := t.verdict(k)
			all = append(all, result)
			if settings.onResult == nil {
				continue
			}
			if err := settings.onResult(result); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// verdict is the verdict on a kernel after its group has run, or could not run.
func (t *tester) verdict(k kernelCheck) KernelResult {
	result := t.of(k.name).result()
	switch {
	case t.err == nil || result.Verdict == VerdictFail:
	case k.name == t.at:
		result.Verdict, result.Note = VerdictFail, t.err.Error()
	default:
		result = KernelResult{
			Kernel: k.name, Against: k.against, Variants: []string{},
			Verdict: VerdictNotDone,
		}
	}
	return result
}

// of is a kernel's tally.
func (t *tester) of(kernel string) *tally { return t.tallies[kernel] }

// settle ends a case of a kernel. If memory was written that must not be, the kernel failed.
func (t *tester) settle(kernel, where string) {
	if t.wrong != "" {
		t.of(kernel).fail("%s: %s", where, t.wrong)
		t.wrong = ""
	}
}

// kernelGroups are all groups. The simplest kernels are first, because a faulty one makes others look
// wrong.
func kernelGroups() []kernelGroup {
	return slices.Concat(rowChecks(), linearChecks(), attentionChecks())
}

func cudaVersion(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// driverVersion is the NVIDIA driver's own version, such as 550.54.15. Only the kernel module knows it.
func driverVersion() string {
	for _, file := range []string{"/sys/module/nvidia/version", "/proc/driver/nvidia/version"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if version := regexp.MustCompile(`\d+(\.\d+)+`).FindString(string(text)); version != "" {
			return version
		}
	}
	return "unknown"
}
