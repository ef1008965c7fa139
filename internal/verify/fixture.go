package verify

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"

	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

// Fixture is what has been published about the checkpoints of one configuration.
type Fixture struct {
	Checkpoint string    `json:"checkpoint"` // its name
	Config     Match     `json:"config"`
	Releases   []Release `json:"releases"`
}

// Match is the part of a configuration that distinguishes models.
type Match struct {
	VocabSize    int `json:"vocab_size"`
	HiddenSize   int `json:"hidden_size"`
	Layers       int `json:"num_hidden_layers"`
	MaxPositions int `json:"max_position_embeddings"`
}

// Release is one set of weights that was published under the checkpoint's name. Its first check of logits
// distinguishes it from the other releases.
type Release struct {
	Name       string    `json:"name"`
	LongFactor []float32 `json:"long_factor,omitempty"` // the beginning of its list; absent: any
	Checks     []Check   `json:"checks"`
}

// Kind is what a check compares.
type Kind string

// The kinds of checks.
const (
	Tokens Kind = "tokens" // ids of Text, or of Messages through the chat template, are IDs
	Logits Kind = "logits" // the first logits of the first positions of IDs are Rows
	// the first and last three elements of the last hidden state of each of IDs are Rows
	Hidden Kind = "hidden"
	Next   Kind = "next"   // the most probable token after IDs is Expect
	Greedy Kind = "greedy" // IDs continue with Expect
)

// Check is one comparison.
type Check struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	Source string `json:"source"`
	DType  string `json:"dtype,omitempty"` // f32 or bf16; tokens need no model
	// Text is the input of Tokens, and the expected text of Next and Greedy.
	Text     string              `json:"text,omitempty"`
	Messages []tokenizer.Message `json:"messages,omitempty"`
	IDs      []int32             `json:"ids"`
	Expect   []int32             `json:"expect,omitempty"`
	Rows     [][]float64         `json:"rows,omitempty"`
}

//go:embed fixtures
var files embed.FS

// Fixtures returns all fixtures of the program.
func Fixtures() ([]Fixture, error) {
	names, err := fs.Glob(files, "fixtures/*.json")
	if err != nil {
		return nil, err
	}
	var all []Fixture
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var f Fixture
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// applies returns the releases that have this configuration.
func (f *Fixture) applies(c *model.Config) []Release {
	if f.Config != (Match{c.VocabSize, c.HiddenSize, c.Layers, c.MaxPositions}) {
		return nil
	}
	var releases []Release
	for _, r := range f.Releases {
		if r.begins(c.RoPE.LongFactor) {
			releases = append(releases, r)
		}
	}
	return releases
}

// begins reports whether a list of long factors begins as the release's does.
func (r *Release) begins(factors []float32) bool {
	if len(factors) < len(r.LongFactor) {
		return false
	}
	for i, f := range r.LongFactor {
		if math.Abs(float64(f-factors[i])) > 1e-3 {
			return false
		}
	}
	return true
}

// fingerprint returns the check that tells the release from others, nil if it has none.
func (r *Release) fingerprint() *Check {
	for i := range r.Checks {
		if r.Checks[i].Kind == Logits {
			return &r.Checks[i]
		}
	}
	return nil
}
