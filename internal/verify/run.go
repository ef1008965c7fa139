package verify

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"

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
