package cli

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/sampling"
	"phi3/internal/show"
)

// samplingFlags say how tokens are chosen. Greedy is the default; a flag that only means something to a draw
// asks for sampling.
type samplingFlags struct {
	given sampling.Config // what the flags say; of no account where a flag was not given
	seed  uint64
	flags *pflag.FlagSet
}

func (f *samplingFlags) register(flags *pflag.FlagSet) {
	f.flags = flags
	d := sampling.Defaults()
	flags.BoolVar(&f.given.DoSample, "do-sample", false,
		"draw each token by its probability; so do the next five flags. What they leave open, "+
			"generation_config.json decides")
	flags.Float32Var(&f.given.Temperature, "temperature", d.Temperature,
		"divides the logits: above 1 more surprising, below 1 less; 0 is greedy")
	flags.IntVar(&f.given.TopK, "top-k", d.TopK, "draw from the `k` most probable tokens; 0: from all")
	flags.Float64Var(&f.given.TopP, "top-p", d.TopP,
		"draw from the fewest tokens that have probability `p` together")
	flags.Float64Var(&f.given.MinP, "min-p", d.MinP,
		"draw from tokens at least `p` times as probable as the most probable one")
	flags.Float64Var(&f.given.TypicalP, "typical-p", d.TypicalP,
		"draw from the most typical tokens that have probability `p` together")
	flags.Float32Var(&f.given.RepetitionPenalty, "repetition-penalty", d.RepetitionPenalty,
		"above 1, tokens that occurred become less probable")
	flags.IntVar(&f.given.NoRepeatNGram, "no-repeat-ngram", 0, "let no `n` tokens in a row occur twice")
	flags.IntVar(&f.given.MinNewTokens, "min-new-tokens", 0, "no end of the text before so many `tokens`")
	flags.Uint64Var(&f.seed, "seed", 0, "of the draws: the same seed gives the same text (default: another "+
		"one every time)")
}

// drawFlags are those that mean nothing without sampling.
var drawFlags = []string{"temperature", "top-k", "top-p", "min-p", "typical-p"}

// sampling tells whether the flags ask for draws.
func (f *samplingFlags) sampling() bool {
	if f.flags.Changed("do-sample") {
		return f.given.DoSample
	}
	if f.flags.Changed("temperature") && f.given.Temperature == 0 {
		return false
	}
	for _, name := range drawFlags {
		if f.flags.Changed(name) {
			return true
		}
	}
	return false
}

// check finds what is wrong with the flags alone.
func (f *samplingFlags) check() error {
	zero := f.flags.Changed("temperature") && f.given.Temperature == 0
	if f.flags.Changed("do-sample") {
		if f.given.DoSample && zero {
			return usagef("--do-sample and --temperature 0 contradict each other: temperature 0 is greedy")
		}
		for _, name := range drawFlags {
			if !f.given.DoSample && f.flags.Changed(name) && !(zero && name == "temperature") {
				return usagef("--%s is for sampling, which --do-sample=false turns off", name)
			}
		}
	}
	given := f.given
	if zero {
		given.Temperature = 1 // greedy
	}
	var outOfRange *sampling.RangeError
	if errors.As(given.Check(), &outOfRange) {
		name := strings.TrimSuffix(strings.ReplaceAll(outOfRange.Field, "_", "-"), "-size")
		return usagef("--%s is %v, not %s", name, outOfRange.Value, outOfRange.Range)
	}
	return nil
}

// config is what the checkpoint's generation_config.json says, as far as the flags leave it open. eos are the
// model's. It notes what the file asks for in vain.
func (f *samplingFlags) config(s *streams, checkpoint fs.FS, eos []int32) (*generationConfig, error) {
	c, err := readGenerationConfig(checkpoint, f.sampling())
	if err != nil {
		return nil, err
	}
	if len(c.undone) > 0 {
		_, _ = show.Fprintf(s.notes(), "note: generation_config.json asks for what phi3 does not do: %s\n",
			strings.Join(c.undone, ", "))
	}
	if c.draws && !f.sampling() && !f.flags.Changed("do-sample") {
		_, _ = show.Fprintf(s.notes(), "note: generation_config.json asks for drawn texts (do_sample): "+
			"--do-sample draws, without it each token is the most probable one\n")
	}
	c.DoSample = f.sampling()
	for name, take := range map[string]func(){
		"temperature": func() {
			if c.DoSample {
				c.Temperature = f.given.Temperature
			}
		},
		"top-k":              func() { c.TopK = f.given.TopK },
		"top-p":              func() { c.TopP = f.given.TopP },
		"min-p":              func() { c.MinP = f.given.MinP },
		"typical-p":          func() { c.TypicalP = f.given.TypicalP },
		"repetition-penalty": func() { c.RepetitionPenalty = f.given.RepetitionPenalty },
		"no-repeat-ngram":    func() { c.NoRepeatNGram = f.given.NoRepeatNGram },
		"min-new-tokens":     func() { c.MinNewTokens, c.MinLength = f.given.MinNewTokens, 0 },
	} {
		if f.flags.Changed(name) {
			take()
		}
	}
	c.EOS = eos
	return c, nil
}

// firstSeed is the one that was given, or one that is new every time and short enough to type.
func (f *samplingFlags) firstSeed() uint64 {
	if f.flags.Changed("seed") {
		return f.seed
	}
	return uint64(rand.Uint32())
}
