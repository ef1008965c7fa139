package explore

import "context"

// AttentionRequest is the body of POST /explore/attention.
type AttentionRequest struct {
	IDs   []int32 `json:"ids"`
	Layer int     `json:"layer"` // from 1
	From  int     `json:"from"`  // the first position to show; 0: all, but at most the last MaxPositions
}

// Attention is the response: where the heads of a layer look.
type Attention struct {
	Layer int             `json:"layer"`
	From  int             `json:"from"`
	Heads []AttentionHead `json:"heads"`
}

// AttentionHead is the attention of a head.
type AttentionHead struct {
	Head int `json:"head"` // from 1
	// of each position from From on: the weights of positions From … itself. Their sum is 1, less what the
	// position takes from positions before From.
	Weights  [][]float64 `json:"weights"`
	Measures Measures    `json:"measures"`
	Label    string      `json:"label"` // the measure that is highest, if it is 0.4 or more: first, previous, …
}

// Measures are mean weights over the positions that are shown, without position 0, which can look only at
// itself.
type Measures struct {
	First    float64 `json:"first"`    // to position 0
	Previous float64 `json:"previous"` // to the position before
	Itself   float64 `json:"itself"`
	// to all earlier positions with the same token, and to the positions after those ("induction"): means
	// over the positions whose token has occurred before; null if there is none
	Same  *float64 `json:"same"`
	After *float64 `json:"after_same"`
}

// Attention computes the attention weights of a layer.
func (e *Explorer) Attention(ctx context.Context, body []byte) (any, error) { return nil, errNotYet }
