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

// Context is the longest sequence of any check, in tokens. A model must be loaded with a context of at least
// that.
const Context = 128

// Options say what to verify, and how.
type Options struct {
	Fixtures []Fixture
	// Open loads the model with a context of [Context] tokens. Run closes a model before it opens the next
	// one, because memory may hold only one.
	Open func(ctx context.Context, float32 bool) (*model.Model, error)
	// Checkpoint is the directory of the checkpoint. Its tokenizer is read from there.
	Checkpoint fs.FS
	DType      string             // f32 or bf16 asks for one of the two runs; "" for both
	OnResult   func(Result) error // if set, is called with each result as it comes
}

// Result is the result of one check.
type Result struct {
	Check    string    `json:"check"`
	DType    string    `json:"dtype,omitempty"`
	Source   string    `json:"source,omitempty"`
	Expected string    `json:"expected"`
	Got      string    `json:"got"`
	Distance []Measure `json:"distance,omitempty"`
	Passed   bool      `json:"passed"`
}

// Report is the result of [Run].
type Report struct {
	Checkpoint string   `json:"checkpoint,omitempty"` // has this configuration; "": no fixture is about it
	Release    string   `json:"release,omitempty"`    // has these weights
	Quantized  bool     `json:"quantized,omitempty"`  // published numbers do not apply
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
	own       map[string]logits    // of the ids of the self check, by dtype
}

// logits is [tokens][vocab].
type logits [][]float32

// Run verifies a checkpoint. It returns an error if it could not do so. A check that fails, even with an
// error, is a result and not an error of Run.
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

// add keeps a result. A result passes only if all its measures are within their limits.
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

// pass loads the model once and makes the checks of this type.
func (r *run) pass(ctx context.Context, dtype string) (err error) {
	m, err := r.Open(ctx, dtype == "f32")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if r.fixture == nil {
		if err := r.recognize(ctx, m, dtype); err != nil {
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

// recognize finds the fixture and the release, and makes the release's checks of the tokenizer. Published
// numbers are about weights that are not quantized.
func (r *run) recognize(ctx context.Context, m *model.Model, dtype string) error {
	if r.report.Quantized = m.WeightTotal().Format.Quantized(); r.report.Quantized {
		r.fixture = &Fixture{} // nothing is published: do not look again
		return nil
	}
	var releases []Release
	for i := range r.Fixtures {
		if releases = r.Fixtures[i].applies(&m.Config); len(releases) > 0 {
			r.fixture = &r.Fixtures[i]
			break
		}
	}
	if r.fixture == nil {
		r.fixture = &Fixture{} // nothing is published: do not look again
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
	result.Distance = []Measure{{Name: "mean", Value: nearest, Limit: recognized}}
	if result.Passed = nearest <= recognized; !result.Passed {
		r.release = nil // the release's other checks are about other weights
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
