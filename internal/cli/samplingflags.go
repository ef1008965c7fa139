package cli

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/generate"
	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/usage"
)

// samplingFlags say how tokens are chosen: greedily, unless a flag asks for draws.
type samplingFlags struct {
	doSample bool
	given    sampling.Config // of the flags in settings
	seed     uint64
	flags    *pflag.FlagSet
}

// setting is a flag that sets a field of a [sampling.Config].
type setting struct {
	name, help string
	draws      bool // it asks for draws, and means nothing without them
	register   func(f setting, flags *pflag.FlagSet, into *sampling.Config)
	copy       func(to, from *sampling.Config)
}

// settings are all of them, in the order of the help page.
var settings = []setting{
	number("temperature", "divide the logits by this number: above 1, draws are more random, below 1 "+
		"less random; 0 is greedy", true,
		func(c *sampling.Config) *float32 { return &c.Temperature }),
	number("top-k", "draw from the `k` most probable tokens; 0 draws from all tokens", true,
		func(c *sampling.Config) *int { return &c.TopK }),
	number("top-p", "draw from the fewest tokens whose probabilities add up to at least `p`", true,
		func(c *sampling.Config) *float64 { return &c.TopP }),
	number("min-p", "draw from tokens at least `p` times as probable as the most probable one", true,
		func(c *sampling.Config) *float64 { return &c.MinP }),
	number("typical-p", "draw from the most typical tokens whose probabilities add up to at least `p`", true,
		func(c *sampling.Config) *float64 { return &c.TypicalP }),
	number("repetition-penalty", "if above 1, make tokens that have occurred less probable", false,
		func(c *sampling.Config) *float32 { return &c.RepetitionPenalty }),
	number("no-repeat-ngram", "never generate the same sequence of `n` tokens twice", false,
		func(c *sampling.Config) *int { return &c.NoRepeatNGram }),
	number("min-new-tokens", "do not end the text before this number of `tokens`", false,
		func(c *sampling.Config) *int { return &c.MinNewTokens }),
}

// number makes the setting of one field.
func number[T int | float32 | float64](
	name, help string, draws bool, field func(*sampling.Config) *T,
) setting {
	return setting{
		name: name, help: help, draws: draws,
		register: func(f setting, flags *pflag.FlagSet, into *sampling.Config) {
			switch v := any(field(into)).(type) {
			case *int:
				flags.IntVar(v, f.name, *v, f.help)
			case *float32:
				flags.Float32Var(v, f.name, *v, f.help)
			case *float64:
				flags.Float64Var(v, f.name, *v, f.help)
			}
		},
		copy: func(to, from *sampling.Config) { *field(to) = *field(from) },
	}
}

func (f *samplingFlags) register(flags *pflag.FlagSet) {
	f.flags, f.given = flags, sampling.Defaults()
	flags.BoolVar(&f.doSample, "do-sample", false,
		"draw each token at random, by its probability; each of the next five flags turns this on too. "+
			"Values that no flag sets come from generation_config.json")
	for _, set := range settings {
		set.register(set, flags, &f.given)
	}
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the random draws: the same seed gives the same text "+
		"(default: a new seed each time)")
}

// sampling reports whether the flags ask for draws.
func (f *samplingFlags) sampling() bool {
	if f.flags.Changed("do-sample") {
		return f.doSample
	}
	if f.zero() {
		return false
	}
	for _, set := range settings {
		if set.draws && f.flags.Changed(set.name) {
			return true
		}
	}
	return false
}

// zero reports whether --temperature asks for a greedy text.
func (f *samplingFlags) zero() bool {
	return f.flags.Changed("temperature") && f.given.Temperature == 0
}

// check finds mistakes in the flags' values.
func (f *samplingFlags) check() error {
	if f.doSample && f.zero() {
		return usage.Errorf("--do-sample and --temperature 0 contradict each other: temperature 0 is greedy")
	}
	for _, set := range settings {
		if f.flags.Changed("do-sample") && !f.doSample && set.draws && f.flags.Changed(set.name) &&
			!(f.zero() && set.name == "temperature") {
			return usage.Errorf("--%s is for sampling, which --do-sample=false turns off", set.name)
		}
	}
	given := f.given
	if f.zero() {
		given.Temperature = 1
	}
	var outOfRange *sampling.RangeError
	if errors.As(given.Check(), &outOfRange) {
		name := strings.TrimSuffix(strings.ReplaceAll(outOfRange.Field, "_", "-"), "-size")
		return usage.Errorf("--%s is %v, not %s", name, outOfRange.Value, outOfRange.Range)
	}
	return nil
}

// defaults is what the flags say and, where they leave it open, the checkpoint's generation_config.json. eos
// are the model's end-of-text ids. Notes name what the file asks for and does not get.
func (f *samplingFlags) defaults(s *streams, checkpoint fs.FS, eos []int32) (*generate.Defaults, error) {
	d, err := generate.ReadDefaults(checkpoint, f.sampling())
	if err != nil {
		return nil, err
	}
	if len(d.Ignored) > 0 {
		_, _ = show.Fprintf(s.notes(), "note: phi3 ignores these keys of generation_config.json: %s\n",
			strings.Join(d.Ignored, ", "))
	}
	if d.Draws && !f.sampling() && !f.flags.Changed("do-sample") {
		_, _ = show.Fprintf(s.notes(), "note: generation_config.json sets do_sample, but phi3 draws "+
			"only with --do-sample; without it each token is the most probable one\n")
	}
	d.Sampling.DoSample = f.sampling()
	d.Sampling.EOS = eos
	for _, set := range settings {
		if f.flags.Changed(set.name) && (d.Sampling.DoSample || !set.draws) {
			set.copy(&d.Sampling, &f.given)
		}
	}
	if f.flags.Changed("min-new-tokens") {
		d.Sampling.MinLength = 0 // the flag takes the place of both
	}
	return d, nil
}

// firstSeed is the one that was given, or a new one that is short enough to type.
func (f *samplingFlags) firstSeed() uint64 {
	if f.flags.Changed("seed") {
		return f.seed
	}
	return uint64(rand.Uint32())
}
