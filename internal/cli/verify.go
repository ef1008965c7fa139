package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/usage"
	"phi3/internal/verify"
)

type verifyFlags struct {
	model modelFlags
	json  bool
}

func newVerify(s *streams) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check a GPU, and a checkpoint against published numbers",
		Long: `Run a checkpoint and compare the results with published ones: token ids, logits of a
float32 run, hidden states and greedy texts. phi3 recognizes from the logits which
release the weights belong to. For any checkpoint, it also compares its own runs: token by
token with all tokens at once, and bfloat16 with float32. Quantized weights are compared
only with themselves. If a check fails, the command fails.

phi3 loads the model twice: once to run in float32, where rounding cannot hide a mistake,
and once to run in bfloat16, the default type. --dtype selects one of the two.

On a GPU, phi3 tests the GPU first. This self-test should take less than 10 seconds and
needs no checkpoint. It runs every kernel on random data and compares the results with
reference kernels, with float64, and with the published arithmetic of NVIDIA's tensor
cores. The verdict on a kernel is one of these:

  exact    every bit is as expected
  ok       within rounding of the expected values
  differs  within rounding, but not the bits of the published arithmetic: the
           results are correct, and other GPUs give different bits
  FAIL     wrong

The last line of the output is a summary for bug reports.`,
		Example: `  phi3 verify
  phi3 verify --device cuda
  phi3 verify --model ./Phi-3-mini-4k-instruct
  phi3 verify -m ./Phi-3-mini-4k-instruct --device cuda --dtype bf16 --json`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.registerModel(flags)
	f.model.registerDevice(flags)
	f.model.registerWeights(flags)
	flags.StringVar(&f.model.dtype, "dtype", "", "run only in bf16, or only in f32 (default: both)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object at the end instead of a table")
	return cmd
}

// verification is the answer of --json.
type verification struct {
	GPU    *gpuReport `json:"gpu,omitempty"`
	Model  string     `json:"model"`
	Device string     `json:"device"`
	*verify.Report
}

func (f *verifyFlags) run(ctx context.Context, s *streams) error {
	only := f.model.dtype
	if only == "" {
		f.model.dtype = "f32"
	}
	checkpoint, err := f.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	fixtures, err := verify.Fixtures()
	if err != nil {
		return err
	}
	f.model.context = verify.Context
	answer := verification{}
	if answer.GPU, err = f.testGPU(ctx, s); err != nil {
		return err
	}
	o := verify.Options{
		Fixtures: fixtures, Checkpoint: checkpoint.FS, DType: only,
		Open: func(ctx context.Context, float32 bool) (*model.Model, error) {
			if f.model.dtype = "bf16"; float32 {
				f.model.dtype = "f32"
			}
			m, err := f.model.load(ctx, s, checkpoint)
			if err != nil {
				return nil, err
			}
			answer.Model, answer.Device = checkpoint.Name, m.Device()
			return m.Model, nil
		},
	}
	if !f.json {
		o.OnResult = verify.Table(s.out, show.TerminalWidth(s.out))
	}
	answer.Report, err = verify.Run(ctx, o)
	if err != nil && (answer.GPU == nil || ctx.Err() != nil) {
		return err
	}
	if err == nil {
		err = answer.Err()
	}
	if answer.GPU != nil {
		err = both(answer.GPU.failure(), err)
	}
	return both(err, answer.finish(s.out, f.json))
}

// both joins two errors, either of which may be nil, in one line.
func both(a, b error) error {
	if a == nil || b == nil {
		return errors.Join(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}

// finish prints what comes after the tables, or everything as JSON.
func (v *verification) finish(w io.Writer, asJSON bool) error {
	if v.GPU != nil && v.Report != nil {
		v.Passed = v.Passed && v.GPU.Passed
	}
	if asJSON {
		return show.WriteJSON(w, v)
	}
	var b strings.Builder
	switch {
	case v.Report == nil || v.Checkpoint != "":
	case v.Quantized:
		b.WriteString("\nThe weights are quantized, and the published numbers are not: the checkpoint was " +
			"compared only with itself.\n")
	default:
		b.WriteString("\nThere are no published numbers for this checkpoint: it was compared only with " +
			"itself.\n")
	}
	if v.GPU != nil {
		show.Fprintf(&b, "\nFor bug reports:\n%s\n", v.GPU.Line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
