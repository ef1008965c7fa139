package explore

import (
	"context"

	"phi3/internal/engine"
	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/openai"
)

// ContributionsRequest is the body of POST /explore/contributions.
type ContributionsRequest struct {
	IDs    []int32 `json:"ids"`
	Tokens []int32 `json:"tokens"` // 1 … 16 possible next tokens
}

// Contributions is the response: direct logit attribution at the last position.
type Contributions struct {
	Tokens []Contribution `json:"tokens"`
}

// Contribution says how much each part of the model adds to the logit of a token. The last norm is linear
// but for its scale, which is taken as it is at the end. So the parts add up to the logit, up to the rounding
// of the head's inputs to bfloat16.
type Contribution struct {
	Token
	Logit     float32   `json:"logit"`     // the model's
	Sum       float64   `json:"sum"`       // of all parts
	Embedding float64   `json:"embedding"` // of the last token's embedding
	Attention []float64 `json:"attention"` // [layers]
	MLP       []float64 `json:"mlp"`       // [layers]
}

// Contributions computes the direct logit attribution of tokens.
func (e *Explorer) Contributions(ctx context.Context, body []byte) (any, error) {
	r, err := e.parseContributions(body)
	if err != nil {
		return nil, err
	}
	var parts inspect.Parts
	var last keeper
	directions := make([][]float64, len(r.Tokens)) // of the tokens
	request := engine.Request{IDs: r.IDs, MaxNewTokens: 1, Sampler: &last, Watch: &engine.Watch{
		From: len(r.IDs) - 1,
		Begin: func(m *model.Model, _ int) (stop func()) {
			for i, id := range r.Tokens {
				if directions[i], err = m.HeadDirection(ctx, id); err != nil {
					return func() {}
				}
			}
			return parts.Watch(m)
		},
	}}
	for _, failed := range e.Engine.Generate(ctx, request) {
		if failed != nil {
			return nil, openai.AsError(failed)
		}
	}
	if err != nil {
		return nil, openai.AsError(err)
	}
	answer := Contributions{}
	for i, id := range r.Tokens {
		c := Contribution{Token: e.token(id), Logit: last.logits[id]}
		for i, part := range parts.Logit(directions[i], e.Config.RMSNormEps) {
			c.Sum += part
			switch {
			case i == 0:
				c.Embedding = part
			case i%2 == 1:
				c.Attention = append(c.Attention, part)
			default:
				c.MLP = append(c.MLP, part)
			}
		}
		answer.Tokens = append(answer.Tokens, c)
	}
	return answer, nil
}
