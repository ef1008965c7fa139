package nexttoken

import (
	"fmt"

	"phi3/internal/picture"
)

// Picture draws the path from the prompt to the next token as an SVG file, with every nth layer as [Thin]
// chooses them. title names the model.
func (r *Report) Picture(title string, every int) string {
	data := picture.PathData{
		Model: title, Prompt: r.Prompt, Next: drawn(r.Top),
		Answer: picture.Token{ID: r.Argmax.ID, Piece: r.Argmax.Piece},
	}
	for _, token := range r.Input {
		data.Tokens = append(data.Tokens, picture.Token{ID: token.ID, Piece: token.Piece})
	}
	shown := Thin(r.Layers, every)
	if len(shown) < len(r.Layers) {
		data.Left = leftOut(shown, len(r.Layers)-1)
	}
	for _, l := range shown {
		name := layerName(l.Layer)
		if l.Layer > 0 {
			name = "layer " + name
		}
		data.Layers = append(data.Layers,
			picture.Layer{Name: name, Top: drawn(l.Top), Answer: l.Answer.Probability})
	}
	if r.Attention != nil {
		title := fmt.Sprintf("What the last token looks at in layer %d", r.Attention.Layer)
		data.Attention = &picture.Attention{Title: title}
		for _, h := range r.Attention.Heads {
			data.Attention.Rows = append(data.Attention.Rows,
				picture.AttentionRow{Name: fmt.Sprintf("head %d", h.Head), Weights: h.Weights})
		}
	}
	return picture.Path(&data)
}

func drawn(candidates []Candidate) (out []picture.Candidate) {
	for _, c := range candidates {
		out = append(out, picture.Candidate{
			Token: picture.Token{ID: c.ID, Piece: c.Piece}, Probability: c.Probability,
		})
	}
	return out
}
