package cuda

import (
	"fmt"
	"strings"
)

// Verdict is what the self-test says of one kernel.
type Verdict string

// The verdicts. All but the last two are a pass.
const (
	VerdictExact   Verdict = "exact"    // every bit is the expected one
	VerdictOK      Verdict = "ok"       // within rounding of values whose last bits nobody knows
	VerdictDiffers Verdict = "differs"  // within rounding, but not the bits of tensor cores as described
	VerdictFail    Verdict = "FAIL"     // wrong
	VerdictNotDone Verdict = "not done" // the self-test ended before
)

// TensorCores is the name of the one result that is of an instruction and not of a kernel: mma.sync on
// numbers of every kind.
const TensorCores = "tensor cores"

// KernelResult is the self-test's verdict on a kernel.
type KernelResult struct {
	Kernel   string   `json:"kernel"` // as the module names it, or [TensorCores]
	Verdict  Verdict  `json:"verdict"`
	Variants []string `json:"variants"`       // the shapes and types that it ran with
	Against  string   `json:"against"`        // what its results were compared with
	Values   int      `json:"values"`         // numbers compared bit for bit
	Other    int      `json:"other"`          // of them, those with other bits than expected
	Worst    float64  `json:"worst"`          // greatest error / the most that rounding explains
	Note     string   `json:"note,omitempty"` // what is wrong, or differs
}

// Passed reports whether the kernel's results are right.
func (r *KernelResult) Passed() bool { return r.Verdict != VerdictFail && r.Verdict != VerdictNotDone }

// SelfTestReport is the outcome of a self-test.
type SelfTestReport struct {
	Card    string `json:"card"`
	Driver  string `json:"driver"`  // its version, "unknown" where the system does not tell
	CUDA    string `json:"cuda"`    // the newest CUDA version that the driver supports
	Compute string `json:"compute"` // compute capability
	Sums    string `json:"sums"`    // whose tensor cores' arithmetic was expected: sm_80 or sm_90
	Code    string `json:"code"`    // which form of the kernels the driver took

	Kernels []KernelResult `json:"kernels"`
	Error   string         `json:"error,omitempty"` // what ended the self-test before its end
	Seconds float64        `json:"seconds"`
	Passed  bool           `json:"passed"`
}

// Failed names the kernels with wrong results.
func (r *SelfTestReport) Failed() (names []string) { return r.with(VerdictFail) }

func (r *SelfTestReport) with(v Verdict) (names []string) {
	for i := range r.Kernels {
		if r.Kernels[i].Verdict == v {
			names = append(names, r.Kernels[i].Kernel)
		}
	}
	return names
}

// Line is the report in one line, for a bug report.
func (r *SelfTestReport) Line() string {
	parts := []string{
		r.Card,
		fmt.Sprintf("driver %s (CUDA %s)", r.Driver, r.CUDA),
		"compute capability " + r.Compute,
		r.Code,
		"sums as " + r.Sums,
	}
	var verdicts []string
	for _, v := range []Verdict{VerdictExact, VerdictOK, VerdictDiffers, VerdictFail, VerdictNotDone} {
		if names := r.with(v); len(names) > 0 {
			verdicts = append(verdicts, fmt.Sprintf("%d %s", len(names), v))
			if v == VerdictDiffers || v == VerdictFail {
				verdicts[len(verdicts)-1] += " (" + strings.Join(names, ", ") + ")"
			}
		}
	}
	if len(verdicts) > 0 {
		parts = append(parts, strings.Join(verdicts, ", "))
	}
	if r.Error != "" {
		parts = append(parts, "ended early: "+r.Error)
	}
	return strings.Join(strings.Fields(strings.Join(parts, "; ")), " ") // a compiler's log has several lines
}
