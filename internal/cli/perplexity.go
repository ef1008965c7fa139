package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/checkpoint"
	"phi3/internal/device"
	"phi3/internal/model"
	"phi3/internal/perplexity"
	"phi3/internal/progress"
	"phi3/internal/show"
	"phi3/internal/text"
	"phi3/internal/usage"
)

type perplexityFlags struct {
	model     modelFlags
	input     inputFlags
	against   string
	stride    int
	maxTokens int
	json      bool
}

func newPerplexity(s *streams) *cobra.Command {
	f := perplexityFlags{input: inputFlags{whole: true}}
	cmd := &cobra.Command{
		Use:   "perplexity",
		Short: "Measure how well a model predicts a text",
		Long: `Measure the perplexity of a model on a text: exp of the mean of -log p(token). It is
computed as in Hugging Face's guide, "Perplexity of fixed-length models": the model reads
windows of --ctx-size tokens that start every --stride tokens, and each window scores the
tokens that no window before it has scored. So each token of the text counts once, except
the first one. From the second window on, a token has at least ctx-size - stride tokens
of context. If both are equal, the first token of each window has none and does not count.

--against compares the model with a reference, at each of these tokens: the mean
Kullback-Leibler divergence of the model's probabilities from the reference's, how often
both find the same token most probable, and how much the probability of the text's token
changes. llama-perplexity --kl-divergence reports the same. The reference needs the same
tokenizer. --weights does not apply to it, so --against with the name of --model shows
what --weights loses. Both models are in memory at the same time. On a CPU, weights that
both take from the same files are in memory once.

The same command always prints the same numbers, whatever the number of threads.

` + inputHelp("text", "A newline at the end is part\nof the text."),
		Example: `  phi3 perplexity --model ./Phi-3-mini-4k-instruct --file wiki.test.raw
  phi3 perplexity -m ./Phi-3-mini-4k-instruct -f book.txt -c 512 --stride 256
  phi3 perplexity -m ./Phi-3-mini-4k-instruct --weights q4_k -f book.txt \
      --against ./Phi-3-mini-4k-instruct --json`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.input.register(flags, "text", "")
	f.model.registerModel(flags)
	f.model.registerDevice(flags)
	flags.StringVar(&f.model.dtype, "dtype", "bf16",
		"type that the inputs of matrix products are rounded to: bf16, or f32 for no rounding")
	f.model.registerWeights(flags)
	flags.IntVarP(&f.model.context, "ctx-size", "c", 0,
		fmt.Sprintf("tokens of a window (default: %d, or the model's own limit if that is less)",
			defaultWindow))
	flags.IntVar(&f.stride, "stride", 0,
		"`tokens` from the beginning of a window to that of the next one (default: half a window)")
	flags.IntVar(&f.maxTokens, "max-tokens", 0, "read only the first `tokens` of the text (default: all)")
	flags.StringVar(&f.against, "against", "",
		"compare with this reference `model`: a directory, or org/name on the hub, as for --model, or the "+
			"same name again. --revision applies to it only if it has the name of --model")
	flags.BoolVar(&f.json, "json", false, "print one JSON object, at full precision")
	return cmd
}

// defaultWindow is the usual size of a window, in tokens.
const defaultWindow = 2048

// measured is the answer of --json.
type measured struct {
	Model     string `json:"model"`
	Reference string `json:"reference,omitempty"`
	Device    string `json:"device"`
	*perplexity.Report
}

func (f *perplexityFlags) check() error {
	given := f.input.flags.Changed
	switch c := f.model.context; {
	case given("ctx-size") && c < 2:
		return usage.Errorf("--ctx-size is %d, not 2 or more", c)
	case given("stride") && f.stride < 1:
		return usage.Errorf("--stride is %d, not 1 or more", f.stride)
	case given("max-tokens") && f.maxTokens < 2:
		return usage.Errorf("--max-tokens is %d, not 2 or more", f.maxTokens)
	case given("against") && f.against == "":
		return usage.Errorf("--against is empty")
	}
	return nil
}

func (f *perplexityFlags) run(ctx context.Context, s *streams) error {
	if err := f.check(); err != nil {
		return err
	}
	given, err := f.input.read(ctx, s)
	if err != nil {
		return err
	}
	checkpoint, err := f.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	if err := f.window(checkpoint); err != nil {
		return err
	}
	ids, err := f.encode(ctx, checkpoint, given)
	if err != nil {
		return err
	}
	m, err := f.model.load(ctx, s, checkpoint)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	answer := measured{Model: checkpoint.Name, Device: m.Device()}
	var reference *model.Model
	if f.against != "" {
		r, name, err := f.loadReference(ctx, s, given, ids)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		answer.Reference, reference = name, r.Model
	}
	bar := progress.Start(s.notes(), progress.ReadingText)
	defer bar.Stop()
	start := time.Now()
	answer.Report, err = perplexity.Measure(ctx, m.Model, reference, ids, perplexity.Options{
		Window: f.model.context, Stride: f.stride, Threads: f.model.threads,
		Progress: func(done, total int) { bar.Update(int64(done), int64(total)) },
	})
	if err != nil {
		return err
	}
	bar.Stop()
	_, _ = show.Fprintf(s.details(), "scored in %s\n", show.Duration(time.Since(start)))
	if f.json {
		return show.WriteJSON(s.out, answer)
	}
	return answer.Write(s.out, answer.Reference)
}

// window sets the size of a window and the stride where the user has not.
func (f *perplexityFlags) window(c *checkpoint.Checkpoint) error {
	if err := f.model.checkHead(c); err != nil {
		return err
	}
	if f.model.context == 0 {
		config, err := model.ReadConfig(c.FS)
		if err != nil {
			return fmt.Errorf("load model %s: %w", c.Name, err)
		}
		f.model.context = min(defaultWindow, config.MaxPositions)
	}
	switch {
	case f.stride > f.model.context:
		return usage.Errorf("--stride is %d, and a window has only %d tokens: some would not be scored",
			f.stride, f.model.context)
	case f.stride == 0:
		f.stride = max(1, f.model.context/2)
	}
	return nil
}

// encode returns the ids of the text that a checkpoint's tokenizer makes, at most --max-tokens of them.
func (f *perplexityFlags) encode(
	ctx context.Context, c *checkpoint.Checkpoint, given string,
) ([]int32, error) {
	if given == "" {
		return nil, errors.New("the text is empty")
	}
	tok, err := loadTokenizer(c)
	if err != nil {
		return nil, err
	}
	codec := &text.Codec{Tokenizer: tok}
	ids, err := codec.Encode(ctx, codec.Plain(given), 0)
	if err != nil {
		return nil, fmt.Errorf("encode the text: %w", err)
	}
	if f.maxTokens > 0 {
		ids = ids[:min(f.maxTokens, len(ids))]
	}
	config, err := model.ReadConfig(c.FS)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", c.Name, err)
	}
	return ids, codec.Check(ids, config.VocabSize)
}

// loadReference loads the model of --against, as it is stored. Its tokenizer must give the same ids.
func (f *perplexityFlags) loadReference(
	ctx context.Context, s *streams, given string, ids []int32,
) (_ *device.Loaded, name string, err error) {
	flags := f.model
	flags.name, flags.weights = f.against, ""
	if f.against != f.model.name {
		flags.revision = ""
	}
	c, err := flags.open(ctx, s)
	if err != nil {
		return nil, "", fmt.Errorf("--against: %w", err)
	}
	defer func() { _ = c.Close() }()
	other, err := f.encode(ctx, c, given)
	if err != nil {
		return nil, "", fmt.Errorf("--against: %w", err)
	}
	if !slices.Equal(ids, other) {
		return nil, "", fmt.Errorf("--against %s: its tokenizer splits the text in another way (%d tokens, "+
			"not %d), so the probabilities cannot be compared", c.Name, len(other), len(ids))
	}
	r, err := flags.load(ctx, s, c)
	if err != nil {
		return nil, "", fmt.Errorf("--against: %w", err)
	}
	return r, c.Name, nil
}
