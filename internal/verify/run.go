package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

// Context is the longest sequence of any check, in tokens: what a model has to be loaded with.
const Context = 128

// Options are what to verify and how.
type Options struct {
	Fixtures []Fixture
	// Open loads the model with a context of [Context] tokens. Run closes it before it opens the next: there
	// is room for one.
	Open func(ctx context.Context, float32 bool) (*model.Model, error)
	// Checkpoint is the directory, for its tokenizer.
	Checkpoint fs.FS
	DType      string             // f32 or bf16: one of the two runs; "": both
	OnResult   func(Result) error // if set, sees each result as it comes
}

// Result is what came of one check.
type Result struct {
	Check    string    `json:"check"`
	DType    string    `json:"dtype,omitempty"`
	Source   string    `json:"source,omitempty"`
	Expected string    `json:"expected"`
	Got      string    `json:"got"`
	Distance []Measure `json:"distance,omitempty"`
	Passed   bool      `json:"passed"`
}

// Report is the outcome.
type Report struct {
	// that the configuration is of, if there are fixtures for it
	Checkpoint string   `json:"checkpoint,omitempty"`
	Release    string   `json:"release,omitempty"` // that the weights are of
	Results    []Result `json:"results"`
	Passed     bool     `json:"passed"`
}

// run is a Run in progress.
type run struct {
	Options
	report    Report
	fixture   *Fixture
	release   *Release
	tokenizer *tokenizer.Tokenizer // loaded when first needed
	own       map[string]logits    // of the self check's ids, by dtype
}

// logits is [tokens][vocab].
type logits [][]float32

// Run verifies a checkpoint. An error means that it could not be done; a check that fails, also for an error
// of its own, is a result.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &run{Options: o, own: map[string]logits{}}
	r.report.Results = []Result{}
	for _, dtype := range []string{"f32", "bf16"} {
		if o.DType != "" && o.DType != dtype {
			continue
		}
		if err := r.pass(ctx, dtype); err != nil {
			return nil, err
		}
	}
	r.report.Passed = !slices.ContainsFunc(r.report.Results, func(r Result) bool { return !r.Passed })
	return &r.report, nil
}

// add keeps a result, whose verdict its measures decide, too.
func (r *run) add(result Result) error {
	for i, m := range result.Distance {
		result.Distance[i] = m.finite()
		result.Passed = result.Passed && result.Distance[i].OK()
	}
	r.report.Results = append(r.report.Results, result)
	if r.OnResult == nil {
		return nil
	}
	return r.OnResult(result)
}

// pass loads the model once and does the checks of this type.
func (r *run) pass(ctx context.Context, dtype string) (err error) {
	m, err := r.Open(ctx, dtype == "f32")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if r.fixture == nil {
		if err := r.recognise(ctx, m, dtype); err != nil {
			return err
		}
	}
	if r.release != nil {
		for _, c := range r.release.Checks {
			if c.DType != dtype {
				continue
			}
			if err := r.check(ctx, m, &c); err != nil {
				return err
			}
		}
	}
	return r.self(ctx, m, dtype)
}

// recognise finds the fixture and the release, and does the release's checks of the tokenizer.
func (r *run) recognise(ctx context.Context, m *model.Model, dtype string) error {
	var releases []Release
	for i := range r.Fixtures {
		if releases = r.Fixtures[i].applies(&m.Config); len(releases) > 0 {
			r.fixture = &r.Fixtures[i]
			break
		}
	}
	if r.fixture == nil {
		r.fixture = &Fixture{} // nothing is published; do not look again
		return nil
	}
	r.report.Checkpoint = r.fixture.Checkpoint
	result := Result{
		Check: "which release the weights are", DType: dtype,
		Source: releases[0].fingerprint().Source,
	}
	nearest := math.Inf(1)
	var names []string
	for i := range releases {
		c := releases[i].fingerprint()
		names = append(names, releases[i].Name)
		got, _, err := forward(ctx, m, c.IDs)
		if err != nil {
			return err
		}
		if off := meanOff(c.Rows, got); off < nearest {
			nearest, r.release = off, &releases[i]
		}
	}
	result.Expected = strings.Join(names, " or ")
	result.Distance = []Measure{{Name: "mean", Value: nearest, Limit: recognised}}
	if result.Passed = nearest <= recognised; !result.Passed {
		r.release = nil // there is no point in comparing these weights with others
		result.Got = "others: fine-tuned, broken?"
		return r.add(result)
	}
	r.report.Release = r.release.Name
	result.Got = r.release.Name
	if err := r.add(result); err != nil {
		return err
	}
	for _, c := range r.release.Checks {
		if c.Kind == Tokens {
			if err := r.add(r.tokens(ctx, &c)); err != nil {
				return err
			}
		}
	}
	return nil
}

// tokens compares the ids of a text.
func (r *run) tokens(ctx context.Context, c *Check) Result {
	result := Result{Check: c.Name + ": ids", Source: c.Source, Expected: ids(c.IDs)}
	if r.tokenizer == nil {
		var err error
		if r.tokenizer, err = tokenizer.Load(r.Checkpoint); err != nil {
			result.Got = err.Error()
			return result
		}
	}
	text, o := c.Text, tokenizer.EncodeOptions{}
	if c.Messages != nil {
		var err error
		if text, err = r.tokenizer.ApplyChatTemplate(ctx, c.Messages, true); err != nil {
			result.Got = err.Error()
			return result
		}
		o.NoBOS = true
	}
	got, err := r.tokenizer.Encode(ctx, text, o)
	if err != nil {
		result.Got = err.Error()
		return result
	}
	result.Got, result.Passed = ids(got), slices.Equal(got, c.IDs)
	return result
}

// check does a check that runs the model.
func (r *run) check(ctx context.Context, m *model.Model, c *Check) error {
	result := Result{Check: c.Name, DType: c.DType, Source: c.Source}
	var err error
	switch c.Kind {
	case Logits:
		err = result.logits(ctx, m, c)
	case Hidden:
		err = result.hidden(ctx, m, c)
	case Next, Greedy:
		err = result.follow(ctx, m, c)
	default:
		err = fmt.Errorf("unknown kind of check %q", c.Kind)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		result.Got, result.Passed = err.Error(), false
	}
	return r.add(result)
}

func (r *Result) logits(ctx context.Context, m *model.Model, c *Check) error {
	r.Check += fmt.Sprintf(", %d × %d values", len(c.Rows), len(c.Rows[0]))
	r.Expected = numbers(c.Rows[0])
	got, _, err := forward(ctx, m, c.IDs)
	if err != nil {
		return err
	}
	first := make([]float64, len(c.Rows[0]))
	for i := range first {
		first[i] = float64(got[0][i])
	}
	r.Got, r.Passed = numbers(first), true
	r.Distance = []Measure{strict(c.Rows, got)}
	return nil
}

func (r *Result) hidden(ctx context.Context, m *model.Model, c *Check) error {
	r.Check += fmt.Sprintf(", %d × %d values", len(c.Rows), len(c.Rows[0]))
	r.Expected = numbers(c.Rows[0])
	_, states, err := forward(ctx, m, c.IDs)
	if err != nil {
		return err
	}
	var got [][]float64
	for _, row := range states {
		got = append(got, ends(row))
	}
	r.Got, r.Passed = numbers(got[0]), true
	r.Distance = hiddenMeasures(c.Rows, got)
	return nil
}

// follow compares the model's choice at every step along the expected ids.
func (r *Result) follow(ctx context.Context, m *model.Model, c *Check) error {
	n := len(c.Expect)
	r.Check += ": next token"
	r.Expected = fmt.Sprintf("%d %s", c.Expect[0], c.Text)
	if c.Kind == Greedy {
		r.Check = fmt.Sprintf("%s: %d greedy tokens", c.Name, n)
		r.Expected = c.Text
	}
	session := generate.NewSession(m, false)
	defer session.Close()
	session.Append(c.IDs...)
	gap := Measure{Name: "bf16 steps", Limit: nearTieBF16}
	switch {
	case c.Kind == Next:
		gap.Limit = 0
	case c.DType == "f32":
		gap.Limit = nearTieF32
	}
	same, first, choice := 0, -1, int32(0)
	for i, want := range c.Expect {
		logits, err := session.Logits(ctx)
		if err != nil {
			return err
		}
		got := argmax(logits)
		if got == want {
			same++
		} else if first < 0 {
			first, choice = i, got
		}
		gap.Value = max(gap.Value, steps(logits[got], logits[want]))
		session.Append(want)
	}
	switch {
	case first < 0:
		r.Got = r.Expected
	case n == 1:
		r.Got = fmt.Sprint(choice)
	default:
		r.Got = fmt.Sprintf("%d of %d; token %d is %d, not %d", same, n, first+1, choice, c.Expect[first])
	}
	r.Passed, r.Distance = true, []Measure{gap}
	return nil
}

// forward returns logits and last hidden state of every one of the ids.
func forward(ctx context.Context, m *model.Model, ids []int32) (all logits, hidden [][]float32, err error) {
	cache := m.NewCache()
	defer cache.Reset()
	out := model.Output{AllLogits: true, AllHidden: true}
	if _, err := m.Feed(ctx, model.Input{IDs: ids, Cache: cache}, &out); err != nil {
		return nil, nil, err
	}
	all = slices.Collect(slices.Chunk(out.Logits, m.Config.VocabSize))
	return all, slices.Collect(slices.Chunk(out.Hidden, m.Config.HiddenSize)), nil
}

// self checks the model against itself, which needs nothing published.
func (r *run) self(ctx context.Context, m *model.Model, dtype string) error {
	tokens := 12
	if crossing := m.Config.Crossing(); crossing > 0 {
		tokens = min(tokens, crossing) // the logits of the first tokens of a longer text would be others
	}
	prompt := spread(tokens, m.Config.VocabSize)
	at, _, err := forward(ctx, m, prompt)
	if err != nil {
		return err
	}
	r.own[dtype] = at

	session := generate.NewSession(m, false)
	defer session.Close()
	differing := Measure{Name: "logits", Limit: 0}
	var failed error
	for i, id := range prompt {
		session.Append(id)
		step, err := session.Logits(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = err
			break
		}
		for j, l := range step {
			if math.Float32bits(l) != math.Float32bits(at[i][j]) {
				differing.Value++
			}
		}
	}
	result := Result{
		Check: "token by token and at once", DType: dtype, Source: "itself", Expected: "the same bits", Got: "the same bits",
		Distance: []Measure{differing}, Passed: failed == nil,
	}
	switch {
	case failed != nil:
		result.Got = failed.Error()
	case !differing.OK():
		result.Got = "others"
	}
	if err := r.add(result); err != nil || len(r.own) < 2 {
		return err
	}
	return r.add(selfResult(r.own["f32"], r.own["bf16"]))
}

// spread is so many ids, from all over the vocabulary.
func spread(tokens, vocab int) []int32 {
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32((450 + 7919*i) % vocab)
	}
	return ids
}

// selfResult compares the two runs: every row of logits points the same way, and bfloat16's choice is one of
// float32's first two, or as good as these.
func selfResult(exact, rounded logits) Result {
	least := Measure{Name: "cosine", Value: 1, Limit: selfCosine, Least: true}
	gap := Measure{Name: "bf16 steps", Limit: nearTieBF16}
	same := 0
	for i := range exact {
		least.Value = math.Min(least.Value, cosine(exact[i], rounded[i]))
		best, choice := argmax(exact[i]), argmax(rounded[i])
		if best == choice {
			same++
		}
		if rank(exact[i], choice) > 2 {
			gap.Value = max(gap.Value, steps(exact[i][best], exact[i][choice]))
		}
	}
	return Result{
		Check: "bf16 against f32", Source: "itself", Expected: "the same choices, or the second best", Got: fmt.Sprintf("%d of %d the same", same, len(exact)),
		Distance: []Measure{least, gap}, Passed: true,
	}
}

// rank is 1 for the most probable id.
func rank(logits []float32, id int32) int {
	n := 1
	for i, l := range logits {
		if c := cmp.Compare(l, logits[id]); c > 0 || c == 0 && int32(i) < id {
			n++
		}
	}
	return n
}
