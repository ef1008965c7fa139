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
		Long: `Run a checkpoint and compare the results with what has been published for it: token
ids, logits of a float32 run, hidden states, greedy texts. The logits tell which release
the weights are. Any checkpoint is also checked against itself. A check that fails makes
the command fail.

The model is loaded twice, to run in float32, which shows mistakes, and as usual in
bfloat16, which rounds; --dtype asks for one of the two.

On a GPU, a self-test of the GPU comes first. It is sized to take less than
10 seconds and needs no checkpoint. It runs every kernel on random data and compares the results with reference
kernels, with float64 and with the published arithmetic of NVIDIA's tensor cores. The
verdict on a kernel is one of these:

  exact    every bit is the expected one
  ok       within rounding of the expected values
  differs  within rounding, but other bits than the published description of
           tensor cores: the results are right, but differ from other cards'
  FAIL     wrong

The last line of the output sums all of it up. Paste it into bug reports.`,
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
	flags.StringVar(&f.model.dtype, "dtype", "", "run in bf16 or in f32 only (default: both)")
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

// both are two failures, either of which may be none, in one line.
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
	if v.Report != nil && v.Checkpoint == "" {
		b.WriteString("\nNothing is published for checkpoints like this one: it was checked against itself " +
			"alone.\n")
	}
	if v.GPU != nil {
		show.Fprintf(&b, "\nFor bug reports:\n%s\n", v.GPU.Line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
