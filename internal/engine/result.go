package engine

import (
	"context"
	"fmt"
	"time"

	"phi3/internal/model"
	"phi3/internal/show"
)

// Result collects the tokens of a text and their times.
type Result struct {
	IDs    []int32 // with the stop id, if one ended the text
	Finish Finish
	// Cached and Fed are the first token's: the prompt's tokens that were in the KV cache, and the others.
	Cached, Fed int
	Queued      time.Duration   // see [Token]
	Prefill     time.Duration   // the first token's time
	Steps       []time.Duration // each later token's time
}

// Run continues a prompt with an engine of its own. After an error, the result has the tokens before it.
func Run(ctx context.Context, m *model.Model, r Request) (Result, error) {
	e := New(m, Options{NoPrefixCache: true})
	defer e.Close()
	result := Result{Finish: FinishLength} // also of no tokens
	for token, err := range e.Generate(ctx, r) {
		if err != nil {
			return result, err
		}
		result.Add(token)
	}
	return result, nil
}

// Add adds the next token.
func (r *Result) Add(t Token) {
	if len(r.IDs) == 0 {
		r.Queued, r.Prefill, r.Cached, r.Fed = t.Queued, t.Time, t.Cached, t.Fed
	} else {
		r.Steps = append(r.Steps, t.Time)
	}
	r.IDs = append(r.IDs, t.ID)
	r.Finish = t.Finish
}

// Decode is the time from the first token to the last.
func (r *Result) Decode() (sum time.Duration) {
	for _, d := range r.Steps {
		sum += d
	}
	return sum
}

// Times returns a line for users: how long it took to load the model, to process a prompt of the given number
// of tokens, and to generate the text.
func (r *Result) Times(load time.Duration, prompt int) string {
	line := fmt.Sprintf("load %s; prompt %d tokens", show.Duration(load), prompt)
	if len(r.IDs) == 0 {
		return line
	}
	if r.Cached > 0 {
		line += fmt.Sprintf(", %d of them cached", r.Cached)
	}
	line += fmt.Sprintf(", first token after %s (%s tokens/s); generated %d", show.Duration(r.Prefill),
		show.Digits(float64(r.Fed)/r.Prefill.Seconds()), len(r.IDs))
	if n := len(r.Steps); n > 0 {
		decode := r.Decode()
		line += fmt.Sprintf(" in %s (%s tokens/s, %s a token)", show.Duration(r.Prefill+decode),
			show.Digits(float64(n)/decode.Seconds()), show.Duration(decode/time.Duration(n)))
	}
	return line
}
