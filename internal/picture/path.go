package picture

import (
	"fmt"
	"math"
)

// PathData is the way of a prompt through a model, as [Path] draws it. Control characters are the caller's to make visible.
type PathData struct {
	Model  string  // its name
	Prompt string  // the text as it was given; "" if only its tokens are known
	Tokens []Token // the prompt's, in order
	// Layers are what the model would say after the embeddings, layer 1, 2, …; empty: not drawn.
	Layers    []Layer
	Answer    Token       // the most probable token after the last layer
	Next      []Candidate // the most probable tokens, falling
	Attention *Attention  // nil: not drawn
}

// Token is a piece of text and its number.
type Token struct {
	ID    int32
	Piece string
}

// Candidate is a token that may come next.
type Candidate struct {
	Token
	Probability float64
}

// Layer is what the model would say if it ended there.
type Layer struct {
	Name   string
	Top    []Candidate // the most probable, falling
	Answer float64     // probability of the final answer
}

// Attention is where the last position looks: a row of weights over the prompt's tokens for each head.
type Attention struct {
	Title string
	Rows  []AttentionRow
}

// AttentionRow is one head's weights [tokens], which sum to 1.
type AttentionRow struct {
	Name    string
	Weights []float64
}

const (
	pageWidth  = 960.0
	margin     = 32.0
	pageLabel  = 100.0 // room for a row's name
	tokenLimit = 48    // tokens drawn; of a longer prompt the first few and the last ones
)

// Path draws the way of a prompt through a model: text, tokens, ids, what each layer would say, and the final distribution as bars.
// With attention, also what the last position looks at.
func Path(p *PathData) string {
	d := &drawing{}
	y := margin + 12
	d.text(margin, y, "bold", fit(p.Model, 60))
	if p.Prompt != "" {
		y += 30
		d.text(margin, y, "dim", "text")
		d.text(margin+pageLabel, y, "mono", fit(p.Prompt, 98))
	}
	tokens, skipped := shownTokens(len(p.Tokens))
	y = d.tokens(p.Tokens, tokens, skipped, y+18)
	if p.Attention != nil {
		y = d.attention(p.Attention, p.Tokens, tokens, y+34)
	}
	if len(p.Layers) > 0 {
		y = d.layers(p.Layers, p.Answer, y+34)
	}
	y = d.bars(p.Next, p.Answer, y+34)
	return d.svg(pageWidth, y+margin, fmt.Sprintf("%s: the path of %q to %q", p.Model, fit(p.Prompt, 60), p.Answer.Piece))
}

// shownTokens lists the positions that are drawn: all, or the first eight and the last ones. skipped is how many are left out after
// the eighth.
func shownTokens(n int) (positions []int, skipped int) {
	if n > tokenLimit {
		skipped = n - tokenLimit
	}
	for i := range n {
		if skipped == 0 || i < 8 || i >= 8+skipped {
			positions = append(positions, i)
		}
	}
	return positions, skipped
}

// tokens draws the prompt's tokens and ids as boxes, in as many lines as they need, and returns the lower edge.
func (d *drawing) tokens(all []Token, shown []int, skipped int, y float64) float64 {
	d.text(margin, y+19, "dim", "tokens")
	d.text(margin, y+40, "dim", "ids")
	x := margin + pageLabel
	line := func(width float64) {
		if x+width > pageWidth-margin {
			x, y = margin+pageLabel, y+54
		}
	}
	for i, position := range shown {
		t := all[position]
		piece, id := fit(t.Piece, 40), fmt.Sprint(t.ID)
		width := letter*float64(max(columns(piece), len(id))) + 12
		line(width)
		d.add(`<rect class="box" x="%.1f" y="%.1f" width="%.1f" height="26" rx="4"/>`, x, y+2, width)
		d.text(x+width/2, y+19, "mono middle", piece)
		d.text(x+width/2, y+40, "dim middle", id)
		x += width + 5
		if i == 7 && skipped > 0 {
			note := fmt.Sprintf("… %d more …", skipped)
			width := letter * float64(columns(note))
			line(width)
			d.text(x, y+19, "dim", note)
			x += width + 5
		}
	}
	return y + 44
}

// layers draws for each layer a bar of its candidates' probabilities, the final answer's in colour.
func (d *drawing) layers(layers []Layer, answer Token, y float64) float64 {
	d.text(margin, y, "bold", "What the model would say if it ended after each layer")
	d.text(pageWidth-margin, y, "dim end", "probability of "+fit(answer.Piece, 24))
	const height, gap, right = 20.0, 3.0, 62.0
	left, width := margin+pageLabel, pageWidth-2*margin-pageLabel-right
	y += 12
	for _, layer := range layers {
		d.text(margin, y+15, "dim", layer.Name)
		d.add(`<rect class="rest" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, left, y, width, height)
		x := left
		for _, c := range layer.Top {
			w := width * c.Probability
			class, ink := "other", "mono"
			if c.ID == answer.ID {
				class, ink = "answer", "mono light"
			}
			d.add(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" stroke="#ffffff"><title>%s %s</title></rect>`, class, x, y, w, height,
				escape(c.Piece), percent(c.Probability))
			if room := int((w - 8) / letter); room >= min(columns(c.Piece), 4) && room > 0 {
				d.text(x+4, y+15, ink, fit(c.Piece, room))
			}
			x += w
		}
		if len(layer.Top) > 0 { // a bar too small for its own name says it in the free space beside the bars
			if c := layer.Top[0]; int((width*c.Probability-8)/letter) < min(columns(c.Piece), 4) {
				d.text(x+6, y+15, "mono", fit(c.Piece+" "+percent(c.Probability), int((left+width-x-8)/letter)))
			}
		}
		d.text(pageWidth-margin, y+15, "dim end", percent(layer.Answer))
		y += height + gap
	}
	return y
}

// bars draws the final distribution.
func (d *drawing) bars(next []Candidate, answer Token, y float64) float64 {
	d.text(margin, y, "bold", "The next token")
	const height, gap, label, right = 20.0, 5.0, 190.0, 62.0
	left, width := margin+label, pageWidth-2*margin-label-right
	y += 12
	for _, c := range next {
		d.text(left-76, y+15, "mono end", fit(c.Piece, 15))
		d.text(left-10, y+15, "dim end", fmt.Sprint(c.ID))
		class := "other"
		if c.ID == answer.ID {
			class = "answer"
		}
		d.add(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, class, left, y, max(1, width*c.Probability), height)
		d.text(left+max(1, width*c.Probability)+6, y+15, "dim", percent(c.Probability))
		y += height + gap
	}
	return y
}

// attention draws a row of cells for each head, darker where more weight lies, under the tokens' names.
func (d *drawing) attention(a *Attention, all []Token, shown []int, y float64) float64 {
	d.text(margin, y, "bold", a.Title)
	left := margin + pageLabel
	cell := min(34, (pageWidth-margin-left-60)/float64(len(shown)))
	const height, longest = 18.0, 12
	deepest := 0
	for _, position := range shown {
		deepest = max(deepest, min(columns(all[position].Piece), longest))
	}
	y += 22 + 0.8*letter*float64(deepest) // names stand at an angle
	for i, position := range shown {
		d.add(`<text class="mono" transform="translate(%.1f %.1f) rotate(-50)">%s</text>`, left+cell*(float64(i)+0.6), y-6, escape(fit(all[position].Piece, longest)))
	}
	for _, row := range a.Rows {
		d.text(margin, y+13, "dim", row.Name)
		for i, position := range shown {
			w := row.Weights[position]
			// The root spreads out small weights, of which long prompts have many.
			d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#0969da" fill-opacity="%.3f" stroke="#d0d7de" stroke-width="0.5"><title>%s %s</title></rect>`,
				left+cell*float64(i), y, cell, height, math.Sqrt(w), escape(all[position].Piece), percent(w))
		}
		y += height
	}
	return y
}

// percent keeps the digits that tell probabilities apart: 99.87%, 41%, 0.053%, 5e-06%.
func percent(p float64) string {
	switch {
	case p >= 0.99:
		return fmt.Sprintf("%.2f%%", p*100)
	case p >= 0.0001:
		return fmt.Sprintf("%.2g%%", p*100)
	}
	return fmt.Sprintf("%.0e%%", p*100)
}
