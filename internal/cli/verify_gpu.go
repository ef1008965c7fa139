package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"phi3/internal/cuda"
	"phi3/internal/demo"
	"phi3/internal/device"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/verify"
)

// selfTestCUDA is a variable so that tests can put another machine in place of this one.
var selfTestCUDA = cuda.SelfTest

// gpuReport is the part of verify's answer about the GPU itself.
type gpuReport struct {
	*cuda.SelfTestReport
	Logits string `json:"logits"` // verify.LogitsHash of the built-in model, or why there is none
	Line   string `json:"line"`   // all of it, for a bug report
}

// testGPU runs the self-test of the GPU that the flags choose and prints a table of it. The report is nil if
// the flags choose the CPU.
func (f *verifyFlags) testGPU(ctx context.Context, s *streams) (*gpuReport, error) {
	d, err := f.model.chosenDevice()
	if err != nil || d.Kind == "cpu" {
		return nil, err
	}
	var onResult func(cuda.KernelResult) error
	if !f.json {
		onResult = selfTestTable(s.out)
	}
	options := cuda.Options{Device: d.Index, Compiling: device.NoteCompiling(s.notes())}
	r, err := selfTestCUDA(ctx, options, onResult)
	switch {
	case d.Kind == "auto" && errors.Is(err, cuda.ErrUnavailable):
		return nil, nil // loading the model says so
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("--device %s: %w", d.Flag, err)
	}
	g := &gpuReport{SelfTestReport: r, Logits: "none"}
	if r.Error == "" {
		var tooLittle *cuda.TooLittleError
		g.Logits, err = hashOnGPU(ctx, d)
		switch {
		case errors.As(err, &tooLittle): // no fault of the GPU
			g.Logits = "none, for want of memory"
		case err != nil:
			r.Passed, r.Error = false, err.Error()
		}
	}
	g.Line = oneLine(fmt.Sprintf("%s; %s; logits %s", version(), r.Line(), g.Logits))
	if f.json {
		return g, nil
	}
	return g, explainSelfTest(s.out, r)
}

// hashOnGPU returns the hash of the logits of the built-in model in bfloat16.
func hashOnGPU(ctx context.Context, d device.Device) (hash string, err error) {
	backend, err := d.OpenGPU(&device.Options{OpenGPU: openCUDA, Notes: io.Discard, Details: io.Discard})
	if err != nil {
		return "none", fmt.Errorf("run the built-in model: %w", err)
	}
	o := model.Options{Context: verify.Context, MaxTokens: cuda.MaxTokens}
	m, err := model.Load(ctx, demo.FS(), backend, o)
	if err != nil {
		return "none", fmt.Errorf("run the built-in model: %w", err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if hash, err = verify.LogitsHash(ctx, m); err != nil {
		return "none", fmt.Errorf("run the built-in model: %w", err)
	}
	return hash, nil
}

// The widths of the columns of the self-test's table, but the last. --json has what is cut off.
const (
	kernelWidth   = 24
	variantsWidth = len("variants")
	againstWidth  = 44
)

// selfTestTable prints verdicts as they come, one row each, and one line more for each failure.
func selfTestTable(w io.Writer) func(cuda.KernelResult) error {
	widths := []int{len(cuda.VerdictNotDone), kernelWidth, variantsWidth, againstWidth}
	first := true
	return func(r cuda.KernelResult) error {
		if first {
			first = false
			head := show.Row(widths, "verdict", "kernel", "variants", "checked against", "worst")
			if _, err := io.WriteString(w, head); err != nil {
				return err
			}
		}
		worst := ""
		if r.Values > 0 || r.Worst > 0 { // otherwise no result came back
			worst = strconv.FormatFloat(r.Worst, 'g', 2, 64)
		}
		row := show.Row(widths, string(r.Verdict), r.Kernel, strconv.Itoa(len(r.Variants)), r.Against, worst)
		if _, err := io.WriteString(w, row); err != nil {
			return err
		}
		if r.Verdict != cuda.VerdictFail {
			return nil
		}
		_, err := show.Fprintf(w, "%*s  → %s\n", widths[0], "", oneLine(r.Note))
		return err
	}
}

// explainSelfTest explains the words of the table under it.
func explainSelfTest(w io.Writer, r *cuda.SelfTestReport) error {
	var b strings.Builder
	b.WriteString("\nvariants: how many shapes and types the kernel ran with; --json lists them\n" +
		"worst: the largest error, divided by the error that rounding explains; more than 1 is wrong\n")
	for _, k := range r.Kernels {
		if k.Verdict == cuda.VerdictDiffers {
			show.Fprintf(&b, "%s: %s\n", k.Verdict, k.Note)
			break
		}
	}
	if r.Error != "" {
		show.Fprintf(&b, "the self-test did not finish: %s\n", oneLine(r.Error))
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// failure is nil if the GPU has passed.
func (g *gpuReport) failure() error {
	switch failed := g.Failed(); {
	case g.Passed:
		return nil
	case g.Error != "":
		return fmt.Errorf("the GPU's self-test did not finish: %s", g.Error)
	default:
		return fmt.Errorf("%d of %d verdicts on the GPU are FAIL: %s",
			len(failed), len(g.Kernels), strings.Join(failed, ", "))
	}
}

// oneLine puts a text of several lines, such as a compiler's log, into one.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
