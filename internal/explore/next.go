package explore

import (
	"context"

	"phi3/internal/nexttoken"
)

// Sampling is how to choose the next token. The names and ranges are those of OpenAI's protocol and of
// generation_config.json.
type Sampling struct {
	Temperature       float32 `json:"temperature"`        // 0: the most probable token
	TopK              int     `json:"top_k"`              // 0: off
	TopP              float64 `json:"top_p"`              // 1: off
	MinP              float64 `json:"min_p"`              // 0: off
	RepetitionPenalty float32 `json:"repetition_penalty"` // 1: off
	FrequencyPenalty  float32 `json:"frequency_penalty"`  // 0: off
	PresencePenalty   float32 `json:"presence_penalty"`   // 0: off
}

// NextRequest is the body of POST /explore/next.
type NextRequest struct {
	IDs       []int32  `json:"ids"`       // the text
	Generated int      `json:"generated"` // how many of the last ids continue the prompt, for the penalties
	Top       int      `json:"top"`       // the candidates to return: 1 … 200; 0: 40
	Sampling  Sampling `json:"sampling"`
}

// Next is the response: the distribution of the next token, and what each step of sampling leaves of it.
type Next struct {
	Candidates []NextCandidate `json:"candidates"` // the most probable ones of the model, and of the last step
	Steps      []Step          `json:"steps"`      // model, penalties, temperature, top_k, top_p, min_p
	Entropy    float64         `json:"entropy"`    // of the model's distribution, in nats
	Vocab      int             `json:"vocab_size"`
}

// Step is a step of sampling.
type Step struct {
	Name string `json:"name"`
	Kept int    `json:"kept"` // tokens that can still be chosen after it
}

// NextCandidate is a token that may follow. Its rank, logit and probability are the model's, as phi3
// next-token prints them.
type NextCandidate struct {
	nexttoken.Candidate
	Bytes   string    `json:"bytes"`             // as in Token, and so is Special: the page may append it to the text
	Special bool      `json:"special"`           // such as <|end|>
	Steps   []float64 `json:"steps"`             // its probability after each of Next.Steps; 0: removed
	Removed string    `json:"removed,omitempty"` // the step that removed it
}

// Next computes the logits after a text, and applies the steps of sampling to them.
func (e *Explorer) Next(ctx context.Context, body []byte) (any, error) { return nil, errNotYet }
