package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/bench"
	"phi3/internal/cpu"
	"phi3/internal/machine"
	"phi3/internal/model"
	"phi3/internal/picture"
	"phi3/internal/show"
	"phi3/internal/usage"
)

type benchFlags struct {
	model   modelFlags
	prompt  int
	gen     int
	reps    int
	noCache bool
	noProbe bool
	plot    string // file
	output  string
}

// maxRepetitions limits the number of measurements, which are kept in memory.
const maxRepetitions = 10_000

func newBench(s *streams) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure speed, or compare runs with and without the KV cache",
		Long: `Measure how long the model takes to load, to read a prompt (prefill) and to generate
tokens (decode), and how many bytes per second decoding reads. Each figure is the mean ±
standard deviation of the repetitions. A run before them warms up and is not counted. On
the CPU, phi3 also measures, in less than a second, how fast the machine itself can read
memory and compute.

With --no-cache, run the same generation with and without the KV cache, compare the
times, and check that tokens and logits are equal to the last bit. If they are not, the
command fails.`,
		Example: `  phi3 bench
  phi3 bench --no-cache -p 16 -n 64
  phi3 bench --model ./Phi-3-mini-4k-instruct -p 512 -n 128 -r 5 -o json`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.register(flags)
	flags.IntVarP(&f.prompt, "n-prompt", "p", 128, "tokens in the prompt")
	flags.IntVarP(&f.gen, "n-gen", "n", 64, "tokens to generate")
	flags.IntVarP(&f.reps, "repetitions", "r", 3, "number of measurements")
	flags.BoolVar(&f.noCache, "no-cache", false, "compare generation with and without the KV cache")
	flags.BoolVar(&f.noProbe, "no-probe", false, "do not measure the machine's limits")
	flags.StringVar(&f.plot, "plot", "",
		"with --no-cache: draw both runs' time per token and total time into this SVG `file`")
	flags.StringVarP(&f.output, "output", "o", "md", "format of the result: md, csv or json")
	return cmd
}

func (f *benchFlags) run(ctx context.Context, s *streams) error {
	switch {
	case f.prompt < 1 || f.gen < 1 || f.reps < 1:
		return usage.Errorf("--n-prompt, --n-gen and --repetitions must be 1 or more")
	case f.reps > maxRepetitions:
		return usage.Errorf("--repetitions is %d, not in 1 … %d", f.reps, maxRepetitions)
	case f.output != "md" && f.output != "csv" && f.output != "json":
		return usage.Errorf("--output is %q, not md, csv or json", f.output)
	case f.plot == "" && f.model.flags.Changed("plot"):
		return usage.Errorf("--plot is empty, not the name of a file")
	case f.plot != "" && !f.noCache:
		return usage.Errorf("--plot draws a comparison; it needs --no-cache")
	case f.plot != "" && f.gen < 3:
		return usage.Errorf("--plot needs --n-gen 3 or more: " +
			"the first token is all prefill, and a line needs two others")
	}
	if f.plot != "" {
		if err := picture.CheckFile(f.plot); err != nil {
			return err
		}
	}
	checkpoint, err := f.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	m, err := f.model.load(ctx, s, checkpoint)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	// the sum of two ints may overflow an int
	if most := uint64(f.prompt) + uint64(f.gen); most > uint64(m.Context) {
		return fmt.Errorf("--n-prompt %d and --n-gen %d make %d tokens, the context holds %d%s",
			f.prompt, f.gen, most, m.Context, contextLimit(m.Model))
	}
	total := m.WeightTotal()
	about := bench.About{
		Model: checkpoint.Name, Title: checkpoint.Title, Device: m.Device(), Machine: deviceName(m.Device()),
		WeightBytes: total.Bytes, WeightType: total.Format.String(), BitsPerWeight: total.BitsPerWeight(),
		Weights: fmt.Sprintf("%s of %s", show.Bytes(total.Bytes), total), LoadMS: m.Took.Seconds() * 1e3,
		Prompt: f.prompt, Gen: f.gen, Repetitions: f.reps,
	}
	if f.noCache {
		return f.compare(ctx, s, m.Model, about)
	}
	var limits cpu.Limits
	if m.CPU != nil && !f.noProbe {
		limits = m.CPU.Probe()
	}
	r, err := bench.Measure(ctx, m.Model, about, f.model.kvElemBytes(), limits)
	if err != nil {
		return err
	}
	return bench.Write(s.out, r, f.output)
}

func (f *benchFlags) compare(ctx context.Context, s *streams, m *model.Model, about bench.About) error {
	c, err := bench.Compare(ctx, m, about)
	if err != nil {
		return err
	}
	if f.plot == "" {
		return bench.Write(s.out, c, f.output)
	}
	chart := c.Chart()
	if err := picture.WriteFile(f.plot, []byte(chart.SVG())); err != nil {
		return err
	}
	err = bench.Write(s.out, c, f.output)
	if f.output == "md" && show.IsTerminal(s.out) {
		for _, panel := range chart.Panels {
			_, _ = io.WriteString(s.out, "\n"+panel.Text())
		}
	}
	return err
}

// deviceName returns the device and, if it is the CPU and the system names it, the name of the processor.
func deviceName(device string) string {
	name := machine.Processor()
	if name == "" || !strings.HasPrefix(device, "CPU") {
		return device
	}
	return name + ", " + device
}
