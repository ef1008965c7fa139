package gpumodel

import (
	"encoding/csv"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"phi3/internal/model"
)

// Figures reads the figures.csv of a run of the GPU kit and writes what the model predicts for those that it
// knows: lines of step, figure, unit and prediction. c is the model that was measured, with weights in
// bfloat16. The kernels' times are at Phi-3-mini's sizes, whatever c is.
func Figures(to io.Writer, from io.Reader, card *Card, c *model.Config) error {
	rows, err := csv.NewReader(from).ReadAll()
	if err != nil {
		return err
	}
	mini, err := PhiMini()
	if err != nil {
		return err
	}
	out := csv.NewWriter(to)
	var done [][]string
	for _, r := range rows {
		if len(r) < 5 {
			return fmt.Errorf("a line of the figures has %d columns", len(r))
		}
		key := []string{r[0], r[1], r[4]} // step, figure, unit
		if slices.ContainsFunc(done, func(d []string) bool { return slices.Equal(d, key) }) {
			continue
		}
		done = append(done, key)
		value, ok := predictFigure(card, c, mini, r[1], r[4])
		if !ok {
			continue
		}
		if err := out.Write(append(key, strconv.FormatFloat(value, 'g', 6, 64))); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

var (
	decodeFigure = regexp.MustCompile(`^decode after (\d+) tokens$`)
	verbFigure   = regexp.MustCompile(`^decode (\d+)/(.+)$`)
	tokenFigure  = regexp.MustCompile(`^Experiment/token/(\d+)cached(-waiting)?$`)
	attendFigure = regexp.MustCompile(`^Experiment/attention/(\d+)(k?)/(serial-)?join$`)
	batchFigure  = regexp.MustCompile(`^Experiment/batch/([a-z-]+)/(\d+)tokens/(decode|batch|prefill)$`)
	packedFigure = regexp.MustCompile(`^Experiment/quantized/([a-z-]+)/(.+)$`)
	chainFigure  = regexp.MustCompile(`^Experiment/chain/(.+)$`)
)

// chainCures are those of the experiment chain. It has other ways to launch, which the model does not cover.
var chainCures = map[string]Cures{
	"graph":                  None,
	"prefetch-12MB":          {Prefetch: true},
	"pdl-96KB":               {Overlap: true},
	"pdl-96KB+prefetch-12MB": {Prefetch: true, Overlap: true},
}

const benchCached = 2048 // tokens, when BenchmarkGPU measures attention

// predictFigure is the prediction for a figure of the kit, if the model has one.
func predictFigure(card *Card, c, mini *model.Config, figure, unit string) (value float64, ok bool) {
	bf16, err := ParseWeights("bf16")
	if err != nil {
		return 0, false
	}
	predict := func(c *model.Config, cached string, cures Cures) *Prediction {
		n, _ := strconv.Atoi(cached)
		p, err := Predict(card, Step{c, bf16, n, 1, cures})
		if err != nil {
			return &Prediction{}
		}
		return p
	}
	switch {
	case figure == "read-only ceiling" && unit == "GB/s":
		return card.ReadRate() / 1e3, true
	case decodeFigure.MatchString(figure):
		p := predict(c, decodeFigure.FindStringSubmatch(figure)[1], All)
		switch unit {
		case "tokens/s":
			return p.Rate(1), true
		case "GB/s":
			return p.Bytes / p.Total() / 1e3, true
		}
	case tokenFigure.MatchString(figure):
		m, cures := tokenFigure.FindStringSubmatch(figure), All
		cures.Ahead = m[2] == ""
		p := predict(mini, m[1], cures)
		switch unit {
		case "µs/token", "µs":
			return p.Total(), true
		case "µs/graph":
			return p.Total() - p.Host, true
		case "µs/host":
			return p.Host, true
		}
	case attendFigure.MatchString(figure):
		m := attendFigure.FindStringSubmatch(figure)
		cached, _ := strconv.Atoi(m[1])
		if m[2] == "k" {
			cached *= 1000
		}
		// The experiment's launches do not overlap.
		k, err := Repeated(card, Step{mini, bf16, cached, 1, Cures{Join: m[3] == ""}}, "Attend")
		return timeOrRate(k.Total(), k.Bytes, unit, err)
	case batchFigure.MatchString(figure):
		k, err := batchTime(card, mini, batchFigure.FindStringSubmatch(figure)[1:])
		return timeOrRate(k.Total(), k.Bytes, unit, err)
	case packedFigure.MatchString(figure):
		k, err := packedTime(card, mini, packedFigure.FindStringSubmatch(figure)[1:])
		return timeOrRate(k.Total(), k.Bytes, unit, err)
	case chainFigure.MatchString(figure):
		cures, ok := chainCures[chainFigure.FindStringSubmatch(figure)[1]]
		if !ok || cures.Overlap && !card.Dependent {
			return 0, false
		}
		total, bytes, err := chain(card, Step{mini, bf16, 0, 1, cures})
		return timeOrRate(total, bytes, unit, err)
	case figure == "Experiment/empty/1block/graph" && unit == "µs/kernel":
		return gap, true
	case figure == "Experiment/empty/1block/graph-pdl" && unit == "µs/kernel" && card.Dependent:
		return early, true
	case verbFigure.MatchString(figure):
		m := verbFigure.FindStringSubmatch(figure)
		tokens, _ := strconv.Atoi(m[1])
		k, err := Repeated(card, Step{mini, bf16, benchCached, tokens, All}, m[2])
		return timeOrRate(k.Total(), k.Bytes, unit, err)
	}
	return 0, false
}

// timeOrRate is the figure in this unit, if it is a time or a rate.
func timeOrRate(total, bytes float64, unit string, err error) (value float64, ok bool) {
	switch {
	case err != nil:
		return 0, false
	case unit == "GB/s":
		return bytes / total / 1e3, bytes > 0
	}
	return total, unit == "µs" || unit == "µs/32layers"
}

// chain is the time of the layers' products without attention between them, and the bytes that they read.
func chain(card *Card, s Step) (total, bytes float64, err error) {
	t := &clock{Card: card, Step: &s, first: true}
	for range s.Config.Layers {
		for _, o := range s.layer(card) {
			if o.attention {
				continue
			}
			k, err := t.launch(&o)
			if err != nil {
				return 0, 0, err
			}
			total += k.Total()
			bytes += k.Bytes
		}
	}
	return total, bytes, nil
}

// Repeated is the time of one call of a verb in a graph of many calls of it, as BenchmarkGPU measures it.
func Repeated(card *Card, s Step, verb string) (Time, error) {
	t := &clock{Card: card, Step: &s}
	for _, o := range append(s.layer(card), s.head(card)...) {
		if o.name != verb {
			continue
		}
		var k Time
		for range 3 { // the first has no predecessor
			var err error
			if k, err = t.launch(&o); err != nil {
				return k, err
			}
		}
		return k, nil
	}
	return Time{}, fmt.Errorf("the model has no verb %q", verb)
}

// batchTime is the time of a product without RMSNorm, by the kernel of a phase. words are the product, the
// number of tokens and the phase.
func batchTime(card *Card, c *model.Config, words []string) (k Time, err error) {
	bf16, err := ParseWeights("bf16")
	if err != nil {
		return k, err
	}
	tokens, _ := strconv.Atoi(words[1])
	s := Step{c, bf16, 0, tokens, Cures{Batch: words[2] == "batch"}}
	if (tokens <= decodeTokens) != (words[2] == "decode") || tokens > batchTokens {
		return k, fmt.Errorf("the model has no such kernel for %d tokens", tokens)
	}
	o, ok := map[string]operation{
		"qkv":     {rows: c.QKVRows(), k: c.HiddenSize, kernel: "linear"},
		"o":       {rows: c.HiddenSize, k: c.Heads * c.HeadDim, kernel: "linear_add"},
		"gate-up": {rows: 2 * c.IntermediateSize, k: c.HiddenSize, kernel: "gate_up"},
		"down":    {rows: c.HiddenSize, k: c.IntermediateSize, kernel: "linear_add"},
	}[words[0]]
	if !ok {
		return k, fmt.Errorf("the model has no product %q", words[0])
	}
	o.name, o.format = words[0], bf16.Layers
	return (&clock{Card: card, Step: &s}).launch(&o)
}

// packedTime is the time of a product for one token with weights of a type. Its launches do not overlap.
// words are the product and the type, with spaces for underscores.
func packedTime(card *Card, c *model.Config, words []string) (k Time, err error) {
	recipe, err := ParseWeights(strings.ReplaceAll(words[1], " ", "_"))
	if err != nil {
		return k, err
	}
	verb, ok := map[string]string{
		"qkv": "NormLinear qkv", "o": "LinearAdd o", "gate-up": "NormGateUp", "down": "LinearAdd down",
	}[words[0]]
	if !ok {
		return k, fmt.Errorf("the model has no product %q", words[0])
	}
	return Repeated(card, Step{c, recipe, 0, 1, None}, verb)
}
