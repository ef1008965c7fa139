// Package bench measures how fast a model reads a prompt and generates tokens ([Measure]), and compares
// generation with and without the KV cache ([Compare]).
package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand"
	"strconv"
	"time"

	"phi3/internal/model"
	"phi3/internal/show"
)

// About is what is measured.
type About struct {
	Model       string `json:"model"`
	Device      string `json:"device"`
	WeightBytes int64  `json:"weight_bytes"`
	// WeightType is the type of most weights.
	WeightType    string  `json:"weight_type"`
	BitsPerWeight float64 `json:"bits_per_weight"`
	LoadMS        float64 `json:"load_ms"`
	Prompt        int     `json:"n_prompt"` // tokens
	Gen           int     `json:"n_gen"`    // tokens, 1 or more
	Repetitions   int     `json:"repetitions"`
	Title         string  `json:"-"` // the model's name in headlines
	Weights       string  `json:"-"` // their size and type in headlines
	Machine       string  `json:"-"` // the device in a picture, with its processor's name
}

func (a *About) headline() string {
	return show.Sprintf("%s (%s) on %s, loaded in %s; prompt %d, generated %d, %d repetitions\n\n",
		a.Title, a.Weights, a.Device, show.Milliseconds(a.LoadMS),
		a.Prompt, a.Gen, a.Repetitions)
}

// Result is the result of a benchmark. Its JSON is the output of phi3 bench -o json.
type Result interface {
	// Verdict is an error if the results are wrong.
	Verdict() error

	markdown() string
	table() [][]string // a header and rows
}

// Write writes a result in the format md, csv or json, and returns its verdict.
func Write(w io.Writer, r Result, format string) (err error) {
	switch format {
	case "json":
		err = show.WriteJSON(w, r)
	case "csv":
		err = csv.NewWriter(w).WriteAll(r.table())
	default:
		_, err = io.WriteString(w, r.markdown())
	}
	if err != nil {
		return err
	}
	return r.Verdict()
}

// Spread is a mean and a sample standard deviation.
type Spread struct {
	Mean float64 `json:"mean"`
	SD   float64 `json:"sd"`
}

func newSpread(values []float64) (s Spread) {
	for _, v := range values {
		s.Mean += v / float64(len(values))
	}
	if len(values) > 1 {
		var sum float64
		for _, v := range values {
			sum += (v - s.Mean) * (v - s.Mean)
		}
		s.SD = math.Sqrt(sum / float64(len(values)-1))
	}
	return s
}

func (s Spread) String() string {
	return fmt.Sprintf("%s ± %s", show.Digits(s.Mean), show.Digits(s.SD))
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

func total(steps []time.Duration) (sum time.Duration) {
	for _, s := range steps {
		sum += s
	}
	return sum
}

// number writes a number for CSV.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 8, 64) }

// samplePrompt returns n ids that are spread over the vocabulary, the same ones every time. It needs no
// tokenizer.
func samplePrompt(m *model.Model, n int) []int32 {
	rng := rand.New(rand.NewSource(1))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.Intn(m.Config.VocabSize))
	}
	return ids
}
