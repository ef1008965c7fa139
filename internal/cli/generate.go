package cli

import (
	"math"

	"github.com/spf13/cobra"

	"phi3/internal/engine"
	"phi3/internal/show"
	"phi3/internal/usage"
)

type generateFlags struct {
	model     modelFlags
	prompt    promptFlags
	sampling  samplingFlags
	maxNew    int
	stops     []string
	sequences int
	logProbs  int // -1: none
	noCache   bool
	echo      bool
	ignoreEOS bool
	json      bool
	jsonLines bool
	timings   bool
}

func newGenerate(s *streams) *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Continue a prompt",
		Long: `Continue a prompt, token by token. Each token is the most probable one (greedy), unless
--do-sample or a flag such as --temperature asks for a random draw. Draws follow the
order and the formulas of Hugging Face's generate.

The text appears on stdout as it is generated. It ends at the model's end-of-text token,
before a --stop text, after --max-new-tokens, or when the context is full.

` + inputHelp("prompt", newlineDropped),
		Example: `  phi3 generate --prompt "The capital of Germany is"
  phi3 generate --chat --prompt "Write an email to Sarah." --temperature 0.8
  phi3 generate -m ./Phi-3-mini-4k-instruct -f prompt.txt -n 500 --stop "User:"
  echo "The capital of France is" | phi3 generate --json --logprobs 5`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	flags := cmd.Flags()
	f.prompt.register(flags)
	f.model.register(flags)
	f.sampling.register(flags)
	flags.IntVarP(&f.maxNew, "max-new-tokens", "n", 0,
		"largest number of tokens to generate (default: 256; with --chat, as many as the "+
			"context has room for)")
	flags.StringArrayVar(&f.stops, "stop", nil, "end the answer before this `text` (repeatable)")
	flags.IntVar(&f.sequences, "num-return-sequences", 1,
		"number of texts to draw; the prompt is computed once. Text i, counted from 0, uses the seed "+
			"--seed + i")
	flags.IntVar(&f.logProbs, "logprobs", -1,
		"also show each token's log probability in the model's own distribution, and those of the `n` most "+
			"probable tokens")
	flags.BoolVar(&f.noCache, "no-cache", false,
		"recompute the whole sequence for every token instead of caching keys and values")
	flags.BoolVar(&f.echo, "echo", false, "print the prompt before the answer")
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "continue after an end-of-text token")
	flags.BoolVar(&f.json, "json", false, "print one JSON object for each text instead of streaming it")
	flags.BoolVar(&f.jsonLines, "jsonl", false,
		"print one line of JSON for each token as it is generated, then one for the text (docs/json.md "+
			"describes the keys)")
	flags.BoolVar(&f.timings, "timings", false,
		"print times and speeds on stderr (the default on a terminal)")
	return cmd
}

// check finds mistakes in the flags' values, before anything takes time.
func (f *generateFlags) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case f.maxNew < 0:
		return usage.Errorf("--max-new-tokens is %d, not 0 or more", f.maxNew)
	case f.sequences < 1:
		return usage.Errorf("--num-return-sequences is %d, not 1 or more", f.sequences)
	case f.sequences > 1 && !f.sampling.sampling():
		return usage.Errorf("--num-return-sequences %d would give the same text every time without "+
			"sampling; add --do-sample", f.sequences)
	case uint64(f.sequences-1) > math.MaxUint64-f.sampling.seed:
		return usage.Errorf("--seed is %d; with --num-return-sequences %d it is at most %d, because "+
			"text i has the seed --seed + i",
			f.sampling.seed, f.sequences, uint64(math.MaxUint64)-uint64(f.sequences-1))
	case f.logProbs < 0 && changed("logprobs"):
		return usage.Errorf("--logprobs is %d, not 0 or more", f.logProbs)
	case f.json && f.jsonLines:
		return usage.Errorf("--json and --jsonl are two formats of one answer; give one of them")
	}
	for _, stop := range f.stops {
		if stop == "" {
			return usage.Errorf("--stop is empty")
		}
	}
	return f.sampling.check()
}

func (f *generateFlags) run(cmd *cobra.Command, s *streams) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	t, err := openTask(cmd.Context(), s, &f.model, &f.prompt, nil)
	if err != nil {
		return err
	}
	defer t.close()
	defaults, err := f.sampling.defaults(s, t.checkpoint.FS, t.model.Config.EOS)
	if err != nil {
		return err
	}
	seed := f.sampling.firstSeed()
	if !defaults.Sampling.DoSample && f.sampling.flags.Changed("seed") {
		_, _ = show.Fprintln(s.notes(), "note: --seed changes nothing: without sampling the text is always "+
			"the same (--do-sample turns it on)")
	}

	switch {
	case cmd.Flags().Changed("max-new-tokens"):
	case defaults.MaxNewTokens > 0:
		f.maxNew = defaults.MaxNewTokens
	case f.prompt.chat:
		f.maxNew = t.model.Context
	default:
		f.maxNew = 256
	}
	defaults.Sampling.MaxNewTokens = f.maxNew
	f.stops = append(f.stops, defaults.Stops...)
	e := engine.New(t.model, engine.Options{})
	defer e.Close()
	g := &generator{f, s, t, e, defaults.Sampling}
	for i := range f.sequences {
		if err := g.one(cmd.Context(), i, seed+uint64(i)); err != nil {
			return err
		}
	}
	return nil
}
