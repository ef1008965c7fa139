package picture

import (
	"fmt"
	"math"

	"phi3/internal/show"
)

// PathData is the path of a prompt through a model, for [Path]. Texts may have any length and any characters.
type PathData struct {
	Model  string  // its name
	Prompt string  // the text as it was given; "" if only its tokens are known
	Tokens []Token // the prompt's, in order
	// Layers are what the model would say after the embeddings and after layer 1, 2, …, or after some of
	// them. If empty, they are not drawn.
	Layers    []Layer
	Left      string      // says which layers are left out, if any are
	Answer    Token       // the most probable token after the last layer
	Next      []Candidate // the most probable tokens, in falling order
	Attention *Attention  // nil: not drawn
}

// Token is a piece of text and its id.
type Token struct {
	ID    int32
	Piece string
}

// Candidate is a token that may come next.
type Candidate struct {
	Token
	Probability float64
}

// Layer is what the model would predict if it ended after a layer.
type Layer struct {
	Name   string
	Top    []Candidate // the most probable, in falling order
	Answer float64     // probability of the final answer
}

// Attention is the attention of the last position: for each head, a row of weights over the prompt's tokens.
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
	pageWidth = 960.0
	margin    = 32.0
	pageLabel = 100.0 // room for a row's name
	pageRight = 68.0  // room for a row's number

	// The most that is drawn.
	tokenLimit = 48 // tokens: the first firstShown of them and the last ones
	firstShown = 8
	rowLimit   = 64 // heads, or candidates
	tipLimit   = 40 // columns of the text that appears under the mouse
)

// Path draws the path of a prompt through a model: text, tokens, ids, what the last position attends to, what
// each layer would say, and the final distribution as bars. Its size has a limit, however long the prompt and
// the pieces are and however many candidates there are.
func Path(p *PathData) string {
	d := &drawing{}
	y := margin + 12
	d.text(margin, y, "bold", fit(show.Line(p.Model), pageWidth-2*margin, boldColumn))
	if p.Prompt != "" {
		d.text(margin, y+30, "dim", "text")
		room := pageWidth - 2*margin - pageLabel
		for _, line := range ends(p.Prompt, int(room/monoColumn)) {
			y += 22
			d.text(margin+pageLabel, y+8, "mono", line)
		}
		y += 8
	}
	shown := shownTokens(len(p.Tokens))
	y = d.tokens(p.Tokens, shown, y+18)
	if p.Attention != nil {
		y = d.attention(p.Attention, p.Tokens, shown, y+34)
	}
	if len(p.Layers) > 0 {
		y = d.layers(p, y+34)
	}
	y = d.bars(p.Next, p.Answer, y+34)
	title := fmt.Sprintf("%s: the path of “%s” to “%s”", show.Line(show.Clip(p.Model, 100)),
		ends(p.Prompt, 60)[0], show.Piece(p.Answer.Piece, tipLimit))
	return d.svg(pageWidth, y+margin, title)
}

// shownTokens lists the positions that are drawn. Of a long prompt these are the first eight and the last
// ones, and one -1 stands for those between.
func shownTokens(n int) (positions []int) {
	for i := range n {
		switch {
		case n <= tokenLimit || i < firstShown || i >= n-tokenLimit+firstShown:
			positions = append(positions, i)
		case i == firstShown:
			positions = append(positions, -1)
		}
	}
	return positions
}

func notShown(n int) string { return fmt.Sprintf("… %d more …", n-tokenLimit) }

// tokens draws the prompt's tokens and ids as boxes, in as many lines as they need, and returns the lower
// edge.
func (d *drawing) tokens(all []Token, shown []int, y float64) float64 {
	d.text(margin, y+19, "dim", "tokens")
	d.text(margin, y+40, "dim", "ids")
	x := margin + pageLabel
	for _, position := range shown {
		piece, id := notShown(len(all)), ""
		if position >= 0 {
			piece, id = show.Piece(all[position].Piece, tipLimit), fmt.Sprint(all[position].ID)
		}
		width := max(mono(piece), dimColumn*float64(len(id))) + 12
		if x+width > pageWidth-margin {
			x, y = margin+pageLabel, y+54
		}
		if position < 0 {
			d.text(x+width/2, y+19, "dim middle", piece)
		} else {
			d.rect("box", x, y+2, width, 26, "")
			d.text(x+width/2, y+19, "mono middle", piece)
			d.text(x+width/2, y+40, "dim middle", id)
		}
		x += width + 5
	}
	return y + 44
}

// layers draws one bar for each layer: the probabilities of its candidates. The final answer has a colour.
func (d *drawing) layers(p *PathData, y float64) float64 {
	const height, gap = 20.0, 3.0
	left, width := margin+pageLabel, pageWidth-2*margin-pageLabel-pageRight
	d.text(margin, y, "bold", "What the model would say if it ended after each layer")
	d.text(pageWidth-margin, y, "dim end", "probability of “"+show.Piece(p.Answer.Piece, 24)+"”")
	if p.Left != "" {
		y += 18
		d.text(margin, y, "dim", p.Left)
	}
	y += 12
	for _, layer := range p.Layers {
		d.text(margin, y+15, "dim", layer.Name)
		d.rect("rest", left, y, width, height, "")
		x := left
		for i, c := range layer.Top {
			piece, w := show.Piece(c.Piece, tipLimit), width*c.Probability
			class, ink := "other bar", "mono"
			if c.ID == p.Answer.ID {
				class, ink = "answer bar", "mono light"
			}
			d.rect(class, x, y, w, height, piece+" "+show.Percent(c.Probability))
			if room := w - 8; room >= min(mono(piece), 4*monoColumn) {
				d.text(x+4, y+15, ink, fit(piece, room, monoColumn))
			} else if i == 0 { // the name does not fit in its bar: write it beside all bars
				name := piece + " " + show.Percent(c.Probability)
				beside := left
				for _, c := range layer.Top {
					beside += width * c.Probability
				}
				if room := left + width - beside - 10; room >= 4*monoColumn {
					d.text(beside+6, y+15, "mono", fit(name, room, monoColumn))
				}
			}
			x += w
		}
		d.text(pageWidth-margin, y+15, "dim end", show.Percent(layer.Answer))
		y += height + gap
	}
	return y
}

// bars draws the final distribution.
func (d *drawing) bars(next []Candidate, answer Token, y float64) float64 {
	d.text(margin, y, "bold", "The next token")
	const height, gap, names, ids = 20.0, 5.0, 150.0, 76.0
	left, width := margin+names+ids, pageWidth-2*margin-names-ids-pageRight
	y += 12
	for i, c := range next {
		if i == rowLimit {
			d.text(left, y+15, "dim", fmt.Sprintf("… %d more", len(next)-rowLimit))
			return y + height
		}
		piece := show.Piece(c.Piece, tipLimit)
		d.text(left-ids, y+15, "mono end", fit(piece, names, monoColumn))
		d.text(left-10, y+15, "dim end", fmt.Sprint(c.ID))
		class := "other"
		if c.ID == answer.ID {
			class = "answer"
		}
		d.rect(class, left, y, max(1, width*c.Probability), height, piece+" "+show.Percent(c.Probability))
		d.text(left+max(1, width*c.Probability)+6, y+15, "dim", show.Percent(c.Probability))
		y += height + gap
	}
	return y
}

// attention draws a row of cells for each head under the tokens' names. A larger weight is a darker cell.
func (d *drawing) attention(a *Attention, all []Token, shown []int, y float64) float64 {
	d.text(margin, y, "bold", fit(a.Title, pageWidth-2*margin, boldColumn))
	const height, longest, angle = 18.0, 12, 60.0 // letters of two columns, 15 pixels apart, do not touch
	left := margin + pageLabel
	sin, cos := math.Sincos(angle * math.Pi / 180)
	cell := min(34, (pageWidth-margin-left-longest*smallColumn*cos)/float64(len(shown)))
	names, deepest := make([]string, len(shown)), 0.0
	for i, position := range shown {
		names[i] = fmt.Sprintf("%d more", len(all)-tokenLimit)
		if position >= 0 {
			names[i] = show.Piece(all[position].Piece, longest)
		}
		names[i] = show.Cut(names[i], longest)
		deepest = max(deepest, smallColumn*float64(show.Width(names[i]))*sin)
	}
	y += 22 + deepest
	for i, name := range names {
		d.add(`<text class="mono small" transform="translate(%.1f %.1f) rotate(%.0f)">%s</text>`,
			left+cell*(float64(i)+0.6), y-6, -angle, escape(name))
	}
	for r, row := range a.Rows {
		if r == rowLimit {
			d.text(left, y+15, "dim", fmt.Sprintf("… %d more", len(a.Rows)-rowLimit))
			return y + height
		}
		d.text(margin, y+13, "dim", row.Name)
		for i, position := range shown {
			w, piece := 0.0, names[i]
			if position >= 0 {
				w, piece = row.Weights[position], show.Piece(all[position].Piece, tipLimit)
			} else {
				for _, between := range row.Weights[firstShown : len(all)-tokenLimit+firstShown] {
					w += between
				}
			}
			// A long prompt has many small weights. The square root makes them visible.
			opacity := math.Sqrt(max(0, min(1, w)))
			d.add(`<rect class="cell" x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill-opacity="%.3f">`+
				`<title>%s %s</title></rect>`,
				left+cell*float64(i), y, cell, height, opacity, escape(piece), show.Percent(w))
		}
		y += height
	}
	return y
}
