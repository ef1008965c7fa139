package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/sampling"
	"phi3/internal/show"
)

// run is what [record] keeps of one generation.
type run struct {
	ids    []int32
	logits [][sha256.Size]byte // hash of each step's logits [vocab], as little-endian float32
	times  []time.Duration     // of each token; the first includes the prefill
}

func record(ctx context.Context, m *model.Model, prompt []int32, n int, noCache bool) (*run, error) {
	seen := &hasher{}
	r, err := engine.Run(ctx, m, engine.Request{
		IDs: prompt, MaxNewTokens: n, NoCache: noCache, Sampler: seen,
	})
	if err != nil {
		return nil, err
	}
	return &run{r.IDs, seen.logits, append([]time.Duration{r.Prefill}, r.Steps...)}, nil
}

// hasher chooses the most probable tokens, and keeps the hashes of the logits.
type hasher struct {
	logits [][sha256.Size]byte
	bytes  []byte
}

// Sample implements [engine.Sampler].
func (h *hasher) Sample(logits []float32, _ []int32) (int32, error) {
	h.bytes = h.bytes[:0]
	for _, l := range logits {
		h.bytes = binary.LittleEndian.AppendUint32(h.bytes, math.Float32bits(l))
	}
	h.logits = append(h.logits, sha256.Sum256(h.bytes))
	return sampling.Greedy(logits), nil
}

// difference returns an error that says where two runs differ, nil if they are equal.
func difference(cached, uncached *run) error {
	for i := range min(len(cached.logits), len(uncached.logits)) {
		if cached.logits[i] != uncached.logits[i] {
			return fmt.Errorf("the logits of token %d differ with and without the KV cache: this is a bug",
				i+1)
		}
	}
	if !slices.Equal(cached.ids, uncached.ids) {
		return errors.New("the tokens differ with and without the KV cache: this is a bug")
	}
	return nil
}

// Comparison is the result of [Compare].
type Comparison struct {
	About
	Lengths         []Row `json:"lengths"`
	IdenticalTokens bool  `json:"identical_tokens"`
	IdenticalLogits bool  `json:"identical_logits"` // every bit of the logits of every step
	// Milliseconds for each token: the median of the repetitions. The first includes the prefill.
	CachedTimes   []float64 `json:"cached_token_ms"`
	UncachedTimes []float64 `json:"uncached_token_ms"`
	differs       error     // the first difference
}

// Row compares the runs up to one length.
type Row struct {
	Generated    int    `json:"generated"`
	CachedRate   Spread `json:"cached_tokens_per_s"` // from the start of the prompt to this token
	UncachedRate Spread `json:"uncached_tokens_per_s"`
	// for the tokens since the previous row, without the first token
	CachedMS   Spread `json:"cached_ms_per_token"`
	UncachedMS Spread `json:"uncached_ms_per_token"`
	SpeedUp    Spread `json:"speed_up"` // of the total time
}

// Compare runs about.Repetitions generations with the KV cache and the same number without it, and compares
// times, tokens and logits. The two kinds take turns, so that a change of the machine's speed affects both.
func Compare(ctx context.Context, m *model.Model, about About) (*Comparison, error) {
	prompt := samplePrompt(m, about.Prompt)
	// a first run reads the checkpoint from the disk
	if _, err := record(ctx, m, prompt, 2, false); err != nil {
		return nil, err
	}
	c := &Comparison{About: about, IdenticalTokens: true, IdenticalLogits: true}
	var cached, uncached []*run
	for range about.Repetitions {
		for _, runs := range []*[]*run{&cached, &uncached} {
			g, err := record(ctx, m, prompt, about.Gen, runs == &uncached)
			if err != nil {
				return nil, err
			}
			*runs = append(*runs, g)
			c.check(cached[0], g)
		}
	}
	c.fill(cached, uncached)
	return c, nil
}

// fill computes the rows and the medians from the times of the runs.
func (c *Comparison) fill(cached, uncached []*run) {
	c.CachedTimes, c.UncachedTimes = medians(cached), medians(uncached)
	before := 1
	for _, n := range rowLengths(c.Gen) {
		row := Row{Generated: n}
		rate := func(g *run) float64 { return float64(n) / total(g.times[:n]).Seconds() }
		perToken := func(g *run) float64 { return ms(total(g.times[before:n])) / float64(n-before) }
		row.CachedRate, row.UncachedRate = over(cached, rate), over(uncached, rate)
		if n > before {
			row.CachedMS, row.UncachedMS = over(cached, perToken), over(uncached, perToken)
		}
		i := -1
		row.SpeedUp = over(cached, func(g *run) float64 { i++; return rate(g) / rate(uncached[i]) })
		c.Lengths = append(c.Lengths, row)
		before = n
	}
}

// medians returns the median of the runs for each token, in milliseconds.
func medians(runs []*run) []float64 {
	times := make([]float64, len(runs[0].times))
	for i := range times {
		var all []float64
		for _, g := range runs {
			all = append(all, ms(g.times[i]))
		}
		slices.Sort(all)
		times[i] = (all[len(all)/2] + all[(len(all)-1)/2]) / 2
	}
	return times
}

// check compares a run with the first one, and keeps the first difference.
func (c *Comparison) check(first, g *run) {
	c.IdenticalTokens = c.IdenticalTokens && slices.Equal(first.ids, g.ids)
	c.IdenticalLogits = c.IdenticalLogits && slices.Equal(first.logits, g.logits)
	if c.differs == nil {
		c.differs = difference(first, g)
	}
}

// over returns the spread of a figure over the runs.
func over(runs []*run, figure func(*run) float64) Spread {
	values := make([]float64, len(runs))
	for i, g := range runs {
		values[i] = figure(g)
	}
	return newSpread(values)
}

// rowLengths returns the powers of two below n, and n.
func rowLengths(n int) (rows []int) {
	for l := 1; l < n; l *= 2 {
		rows = append(rows, l)
	}
	return append(rows, n)
}

// Verdict returns an error for the first difference that was found.
func (c *Comparison) Verdict() error { return c.differs }

func (c *Comparison) markdown() string {
	var b strings.Builder
	b.WriteString(c.headline())
	b.WriteString("| generated | tokens/s, cache | tokens/s, no cache | ms/token, cache | ms/token, no " +
		"cache | speed-up |\n|---|---|---|---|---|---|\n")
	for _, r := range c.Lengths {
		cached, uncached := r.CachedMS.String(), r.UncachedMS.String()
		if r.CachedMS.Mean == 0 {
			cached, uncached = "–", "–" // the first token, which is all prefill
		}
		show.Fprintf(&b, "| %d | %s | %s | %s | %s | %.2f× |\n", r.Generated, r.CachedRate, r.UncachedRate,
			cached, uncached, r.SpeedUp.Mean)
	}
	last := c.Lengths[len(c.Lengths)-1]
	if first := c.Lengths[min(1, len(c.Lengths)-1)]; first.UncachedMS.Mean > 0 &&
		last.Generated > first.Generated {
		show.Fprintf(&b, "\nms/token from token %d to token %d: ×%.2f with the cache, ×%.2f without\n",
			first.Generated, last.Generated,
			last.CachedMS.Mean/first.CachedMS.Mean, last.UncachedMS.Mean/first.UncachedMS.Mean)
	}
	show.Fprintf(&b, "\nidentical tokens: %s (%d)\nidentical logits: %s (all bytes of every step)\n",
		yesNo(c.IdenticalTokens), c.Gen, yesNo(c.IdenticalLogits))
	return b.String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func (c *Comparison) table() [][]string {
	rows := [][]string{{
		"model", "device", "n_prompt", "repetitions", "generated",
		"cached_tokens_per_s", "cached_tokens_per_s_sd", "uncached_tokens_per_s", "uncached_tokens_per_s_sd",
		"cached_ms_per_token", "cached_ms_per_token_sd", "uncached_ms_per_token", "uncached_ms_per_token_sd",
		"speed_up", "speed_up_sd", "identical_tokens", "identical_logits",
	}}
	for _, r := range c.Lengths {
		row := []string{
			show.Line(c.Model), c.Device, fmt.Sprint(c.Prompt), fmt.Sprint(c.Repetitions),
			fmt.Sprint(r.Generated),
		}
		for _, s := range []Spread{r.CachedRate, r.UncachedRate, r.CachedMS, r.UncachedMS, r.SpeedUp} {
			row = append(row, number(s.Mean), number(s.SD))
		}
		rows = append(rows, append(row, fmt.Sprint(c.IdenticalTokens), fmt.Sprint(c.IdenticalLogits)))
	}
	return rows
}
