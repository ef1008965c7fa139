package nexttoken

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// Report is what a model predicts for the token after a prompt. Its JSON is the output of phi3 next-token
// --json.
type Report struct {
	Model     string          `json:"model"`
	Prompt    string          `json:"prompt"`
	Input     []Token         `json:"input"`
	Argmax    Candidate       `json:"argmax"`
	Top       []Candidate     `json:"top"`
	Tokens    []Candidate     `json:"tokens,omitempty"`        // those of Options.Tokens
	Hidden    [][]float32     `json:"hidden_states,omitempty"` // [tokens, hidden] after the final norm
	Shape     []int           `json:"hidden_shape,omitempty"`  // [1, tokens, hidden]
	Layers    []Layer         `json:"layers,omitempty"`        // the embeddings, then each layer
	Attention *LayerAttention `json:"attention,omitempty"`     // of the last position
	Logits    []float32       `json:"logits"`                  // [vocab] of the last position
	Vocab     int             `json:"vocab_size"`
	Context   int             `json:"context"`
}

// Token is a token of the prompt.
type Token = tokenizer.Token

// Layer is what the model would predict if it ended after a layer.
type Layer struct {
	Layer  int         `json:"layer"` // 0: the embeddings
	Top    []Candidate `json:"top"`   // the three most probable
	Answer Candidate   `json:"answer"`
}

// lensTop is the number of candidates that a Layer keeps.
const lensTop = 3

// LayerAttention is the attention weights of the heads of a layer.
type LayerAttention struct {
	Layer int    `json:"layer"` // from 1
	Heads []Head `json:"heads"`
}

// Head is the attention weights of one head, from the last position to every position.
type Head struct {
	Head    int       `json:"head"`    // from 1
	Weights []float64 `json:"weights"` // [tokens], their sum is 1
}

// Options say what a [Report] has besides the prompt's tokens and the logits.
type Options struct {
	Top    int     // the number of most probable tokens
	Tokens []int32 // these as well
	Hidden bool    // the last hidden states
	Layers bool    // what the model would say after each layer
	// Layer, counted from 1, is the one whose attention to show; 0: none. Head, from 1, limits it to one
	// head; 0: all.
	Layer, Head int
}

// New computes a report on the token after ids.
func New(
	ctx context.Context, m *model.Model, t *tokenizer.Tokenizer, ids []int32, o Options,
) (*Report, error) {
	text := inspect.NewText(m, ids)
	defer text.Close()
	look := inspect.Look{Hidden: o.Hidden}
	if o.Layer > 0 {
		look.Attention = []int{o.Layer}
	}
	view, err := text.Look(ctx, look)
	if err != nil {
		return nil, err
	}
	r := &Report{Logits: view.Logits, Vocab: m.Config.VocabSize, Context: m.Context}
	for _, id := range ids {
		r.Input = append(r.Input, t.Token(id))
	}
	ranking := Rank(r.Logits)
	r.Top = ranking.Candidates(t, o.Top)
	r.Argmax = r.Top[0]
	for _, id := range o.Tokens {
		r.Tokens = append(r.Tokens, ranking.Candidate(t, id))
	}
	if o.Hidden {
		r.Hidden = slices.Collect(slices.Chunk(view.Hidden, m.Config.HiddenSize))
		r.Shape = []int{1, len(ids), m.Config.HiddenSize}
	}
	if o.Layer > 0 {
		r.Attention = &LayerAttention{Layer: o.Layer}
		for i, weights := range view.Attention[0] {
			if o.Head == 0 || o.Head == i+1 {
				r.Attention.Heads = append(r.Attention.Heads, Head{i + 1, weights})
			}
		}
	}
	if o.Layers {
		r.Layers, err = layers(ctx, text, t, r.Argmax.ID)
	}
	return r, err
}

// layers computes the layers' logits when the answer is known, so that it can keep a few numbers of each
// layer instead of all logits.
func layers(
	ctx context.Context, text *inspect.Text, t *tokenizer.Tokenizer, answer int32,
) ([]Layer, error) {
	var layers []Layer
	for after, err := range text.Lens(ctx) {
		if err != nil {
			return nil, err
		}
		r := Rank(after.Logits)
		if !r.Finite() {
			return nil, NotFinite(after.Layer)
		}
		layers = append(layers, Layer{
			Layer: after.Layer, Top: r.Candidates(t, lensTop), Answer: r.Candidate(t, answer),
		})
	}
	return layers, nil
}

// NotFinite is the error for logits that are NaN or infinite if the model ends after a layer.
func NotFinite(layer int) error {
	return fmt.Errorf("after layer %d the logits are not all numbers", layer)
}

// easyLayers is the largest number of layers in a table or a picture, unless the user asks for more.
const easyLayers = 24

// Thin returns the layers to show: the embeddings, every nth layer, and the last one. If every is 0, it
// chooses n so that the layers are easy to read.
func Thin(layers []Layer, every int) (shown []Layer) {
	last := len(layers) - 1
	if every == 0 {
		every = max(1, (last+easyLayers-1)/easyLayers)
	}
	for i, l := range layers {
		if i%every == 0 || i == last {
			shown = append(shown, l)
		}
	}
	return shown
}

// WriteJSON writes the report as one JSON object. The hidden states, which may be a gigabyte of text, are
// written a row at a time.
func (r *Report) WriteJSON(w io.Writer) error {
	if r.Hidden == nil {
		return show.WriteJSON(w, r)
	}
	others := *r
	others.Hidden = nil
	var rest bytes.Buffer
	if err := show.WriteJSON(&rest, &others); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	_, _ = out.WriteString("{\n  \"hidden_states\": [") // the error comes out of Flush
	for i, row := range r.Hidden {
		if i > 0 {
			_, _ = out.WriteString(",")
		}
		line, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("the hidden state of token %d: %w", i, err)
		}
		_, _ = show.Fprintf(out, "\n    %s", line)
	}
	_, _ = show.Fprintf(out, "\n  ],%s", bytes.TrimPrefix(rest.Bytes(), []byte("{")))
	return out.Flush()
}
