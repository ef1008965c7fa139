package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/cpu"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/show"
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

// maxRepetitions bounds what is measured and kept: more tells nothing new.
const maxRepetitions = 10_000

func newBench(s *streams) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure speed, with the KV cache or against it",
		Long: `Measure how long the model takes to load, to read a prompt (prefill) and to write
(decode), and how many bytes a second decoding reads. Every figure is the mean ±
standard deviation over the repetitions, after one that does not count. On the CPU, a probe of
less than a second first measures what the machine can read and compute at most.

With --no-cache, run the same generation with and without the KV cache, compare the
times, and check that tokens and logits are the same to the last bit. A difference
makes the command fail.`,
		Example: `  phi3 bench
  phi3 bench --no-cache -p 16 -n 64
  phi3 bench --model ./Phi-3-mini-4k-instruct -p 512 -n 128 -r 5 -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.register(flags)
	flags.IntVarP(&f.prompt, "n-prompt", "p", 128, "tokens in the prompt")
	flags.IntVarP(&f.gen, "n-gen", "n", 64, "tokens to generate")
	flags.IntVarP(&f.reps, "repetitions", "r", 3, "how often to measure")
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
		return usagef("--n-prompt, --n-gen and --repetitions must be 1 or more")
	case f.reps > maxRepetitions:
		return usagef("--repetitions is %d, not in 1 … %d", f.reps, maxRepetitions)
	case f.output != "md" && f.output != "csv" && f.output != "json":
		return usagef("--output is %q, not md, csv or json", f.output)
	case f.plot == "" && f.model.flags.Changed("plot"):
		return usagef("--plot is empty, not the name of a file")
	case f.plot != "" && !f.noCache:
		return usagef("--plot draws a comparison; it needs --no-cache")
	case f.plot != "" && f.gen < 3:
		return usagef("--plot needs --n-gen 3 or more: the first token is all prefill, and a line needs " +
			"two others")
	}
	if f.plot != "" {
		if _, err := checkPicture(f.plot); err != nil {
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
	// the sum of two ints may be no int
	if most := uint64(f.prompt) + uint64(f.gen); most > uint64(m.Context) {
		return fmt.Errorf("--n-prompt %d and --n-gen %d make %d tokens, the context holds %d%s",
			f.prompt, f.gen, most, m.Context, contextLimit(m.Model))
	}
	about := benchAbout{
		Model: checkpoint.Name, title: checkpoint.Title, Device: m.Device(),
		WeightBytes: m.WeightBytes(), LoadMS: ms(m.took),
		Prompt: f.prompt, Gen: f.gen, Repetitions: f.reps,
	}
	if !f.noCache {
		r, err := f.measure(ctx, m, about)
		if err != nil {
			return err
		}
		return f.write(s.out, r)
	}
	c, err := f.compare(ctx, m.Model, about)
	if err != nil {
		return err
	}
	if f.plot != "" {
		if err := c.draw(f.plot); err != nil {
			return err
		}
	}
	err = f.write(s.out, c)
	if f.plot != "" && f.output == "md" && show.IsTerminal(s.out) {
		for _, panel := range c.chart().Panels {
			_, _ = io.WriteString(s.out, "\n"+panel.Text())
		}
	}
	return err
}

// benchResult is what either kind of benchmark found; as JSON it writes itself.
type benchResult interface {
	markdown(w io.Writer) error
	table() [][]string // a header and rows
	verdict() error    // what makes the command fail, after all is written
}

func (f *benchFlags) write(w io.Writer, r benchResult) (err error) {
	switch f.output {
	case "json":
		err = writeJSON(w, r)
	case "csv":
		err = csv.NewWriter(w).WriteAll(r.table())
	default:
		err = r.markdown(w)
	}
	if err != nil {
		return err
	}
	return r.verdict()
}

// benchAbout is what was measured, for both kinds of benchmark.
type benchAbout struct {
	Model       string `json:"model"`
	title       string
	Device      string  `json:"device"`
	WeightBytes int64   `json:"weight_bytes"`
	LoadMS      float64 `json:"load_ms"`
	Prompt      int     `json:"n_prompt"`
	Gen         int     `json:"n_gen"`
	Repetitions int     `json:"repetitions"`
}

func (a *benchAbout) headline() string {
	return show.Sprintf("%s (%s) on %s, loaded in %s; prompt %d, generated %d, %d repetitions\n\n",
		a.title, show.Bytes(a.WeightBytes), a.Device, duration(a.LoadMS), a.Prompt, a.Gen, a.Repetitions)
}

// spread is a mean and a sample standard deviation.
type spread struct {
	Mean float64 `json:"mean"`
	SD   float64 `json:"sd"`
}

func newSpread(values []float64) (s spread) {
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	if len(values) > 1 {
		var sum float64
		for _, v := range values {
			sum += (v - s.Mean) * (v - s.Mean)
		}
		s.SD = math.Sqrt(sum / float64(len(values)-1))
	}
	return s
}

func (s spread) String() string { return fmt.Sprintf("%s ± %s", digits(s.Mean), digits(s.SD)) }

// digits writes a number that is not negative: three digits or more, never more than two after the point.
func digits(v float64) string {
	switch {
	case v >= 99.95: // rounds to 100
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func duration(ms float64) string {
	if ms < 999.5 {
		return digits(ms) + " ms"
	}
	return digits(ms/1000) + " s"
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

func total(steps []time.Duration) (sum time.Duration) {
	for _, s := range steps {
		sum += s
	}
	return sum
}

// speeds is the result of a plain benchmark.
type speeds struct {
	benchAbout
	FirstToken   spread `json:"first_token_ms"`
	PrefillRate  spread `json:"prefill_tokens_per_s"`
	DecodeRate   spread `json:"decode_tokens_per_s"`
	DecodeMS     spread `json:"decode_ms_per_token"`
	PrefillFlops spread `json:"prefill_gflop_per_s"`
	// weights, and the KV cache at the middle of the generation
	BytesPerToken int64  `json:"decode_bytes_per_token"`
	Bandwidth     spread `json:"decode_gb_per_s"`
	// What the machine can do at most; 0 where it was not measured.
	LimitFlops     float64 `json:"limit_gflop_per_s,omitempty"`
	LimitBandwidth float64 `json:"limit_gb_per_s,omitempty"`
}

func (f *benchFlags) measure(ctx context.Context, m *loaded, about benchAbout) (*speeds, error) {
	prompt := benchPrompt(m.Model, f.prompt)
	var limits cpu.Limits
	if b := m.cpu; b != nil && !f.noProbe {
		limits = b.Probe()
	}
	var first, prefill, flops, rate, perToken, bandwidth []float64
	read := m.DecodeBytes(f.prompt+f.gen/2, f.model.kvElemBytes())
	for rep := range f.reps + 1 {
		// One token more than counted: the first one comes out of the prefill.
		r, err := generate.Run(ctx, m.Model, prompt, generate.Options{MaxNewTokens: f.gen + 1})
		if err != nil {
			return nil, err
		}
		if rep == 0 {
			continue // the warm-up: pages of the checkpoint are read from the disk now
		}
		decode := total(r.Steps).Seconds()
		n := float64(len(r.Steps))
		first = append(first, ms(r.Prefill))
		prefill = append(prefill, float64(f.prompt)/r.Prefill.Seconds())
		flops = append(flops, m.PrefillFlops(f.prompt)/r.Prefill.Seconds()/1e9)
		rate = append(rate, n/decode)
		perToken = append(perToken, decode*1e3/n)
		bandwidth = append(bandwidth, float64(read)*n/decode/1e9)
	}
	return &speeds{
		benchAbout: about, FirstToken: newSpread(first), PrefillRate: newSpread(prefill), DecodeRate: newSpread(rate),
		DecodeMS: newSpread(perToken), PrefillFlops: newSpread(flops), BytesPerToken: read, Bandwidth: newSpread(bandwidth),
		LimitFlops: limits.Compute / 1e9, LimitBandwidth: limits.Read / 1e9,
	}, nil
}

func (r *speeds) verdict() error { return nil } // no speed is wrong

func (r *speeds) markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.headline())
	b.WriteString("| what | mean ± sd | unit |\n|---|---|---|\n")
	for _, row := range [][3]string{
		{"time to first token", r.FirstToken.String(), "ms"},
		{"prefill", r.PrefillRate.String(), "tokens/s"},
		{"prefill computes", r.PrefillFlops.String(), "GFLOP/s"},
		{"decode", r.DecodeRate.String(), "tokens/s"},
		{"decode", r.DecodeMS.String(), "ms/token"},
		{"decode reads " + show.Bytes(r.BytesPerToken) + " a token", r.Bandwidth.String(), "GB/s"},
	} {
		show.Fprintf(&b, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	if r.LimitBandwidth > 0 {
		show.Fprintf(&b, "\nThe machine reads %s GB/s and computes %s GFLOP/s at most: decode is at %.0f "+
			"%%, prefill at %.0f %%.\n",
			digits(r.LimitBandwidth), digits(r.LimitFlops), 100*r.Bandwidth.Mean/r.LimitBandwidth, 100*r.PrefillFlops.Mean/r.LimitFlops)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *speeds) table() [][]string {
	return [][]string{
		{
			"model", "device", "weight_bytes", "load_ms", "n_prompt", "n_gen", "repetitions", "first_token_ms", "first_token_ms_sd",
			"prefill_tokens_per_s", "prefill_tokens_per_s_sd", "decode_tokens_per_s", "decode_tokens_per_s_sd",
			"decode_ms_per_token", "decode_ms_per_token_sd", "decode_bytes_per_token", "decode_gb_per_s", "decode_gb_per_s_sd",
			"prefill_gflop_per_s", "prefill_gflop_per_s_sd", "limit_gflop_per_s", "limit_gb_per_s",
		},
		{
			show.Line(r.Model), r.Device, fmt.Sprint(r.WeightBytes), number(r.LoadMS), fmt.Sprint(r.Prompt), fmt.Sprint(r.Gen), fmt.Sprint(r.Repetitions),
			number(r.FirstToken.Mean), number(r.FirstToken.SD), number(r.PrefillRate.Mean), number(r.PrefillRate.SD),
			number(r.DecodeRate.Mean), number(r.DecodeRate.SD), number(r.DecodeMS.Mean), number(r.DecodeMS.SD),
			fmt.Sprint(r.BytesPerToken), number(r.Bandwidth.Mean), number(r.Bandwidth.SD),
			number(r.PrefillFlops.Mean), number(r.PrefillFlops.SD), number(r.LimitFlops), number(r.LimitBandwidth),
		},
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 8, 64) }

// benchPrompt is a prompt of n ids that are spread over the vocabulary and always the same. It needs no
// tokenizer.
func benchPrompt(m *model.Model, n int) []int32 {
	rng := rand.New(rand.NewSource(1))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.Intn(m.Config.VocabSize))
	}
	return ids
}
