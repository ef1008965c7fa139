package info

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"phi3/internal/show"
	"phi3/internal/weight"
)

// Write prints the description.
func (i *Checkpoint) Write(w io.Writer) error {
	var b strings.Builder
	show.Fprintf(&b, "%s: %s, %s parameters", i.title, i.Architecture, show.Thousands(i.Parameters))
	size := i.size()
	switch n := len(i.Files); {
	case i.Missing != "":
		show.Fprintf(&b, "\nno weights here (%s); they would be %s", show.Clip(i.Missing, 300), size)
	case n == 1:
		show.Fprintf(&b, ", %s in 1 file", size)
	default:
		show.Fprintf(&b, ", %s in %d files", size, n)
	}
	if i.note != "" {
		show.Fprintf(&b, "\n(%s)", i.note)
	}
	tree := append([][]string{{"", "shape", "parameters", "bytes", "type"}}, i.tree()...)
	b.WriteString("\n\n" + show.Table(tree, 1, 2, 3))
	if len(i.Types) > 1 {
		b.WriteString("\n" + show.Table(i.types(), 1, 2, 3, 4))
	}
	b.WriteString("\n" + show.Table(i.facts()) + "\n" + i.Memory.describe())
	_, err := io.WriteString(w, b.String())
	return err
}

// size describes the size of the weights and their types, that of most weights first.
func (i *Checkpoint) size() string {
	var names []string
	for _, t := range i.Types {
		names = append(names, t.DType)
	}
	last := len(names) - 1
	types := names[last]
	if last > 0 {
		types = strings.Join(names[:last], ", ") + " and " + types
	}
	size := fmt.Sprintf("%s of %s", show.Bytes(i.WeightBytes), types)
	if f, _ := weight.ParseFormat(names[0]); f.Quantized() {
		size += fmt.Sprintf(" (%.3g bits a weight)", i.BitsPerWeight)
	}
	if i.Quantized != "" {
		size += fmt.Sprintf(" with --weights %s", i.Quantized)
	}
	return size
}

// types returns a row for each type of weights, and their sum.
func (i *Checkpoint) types() [][]string {
	rows := [][]string{{"type", "tensors", "parameters", "bytes", "bits a weight"}}
	row := func(t Type) {
		rows = append(rows, []string{
			t.DType, strconv.Itoa(t.Tensors), show.Thousands(t.Parameters), show.Bytes(t.Bytes),
			strconv.FormatFloat(t.BitsPerWeight, 'g', 4, 64),
		})
	}
	for _, t := range i.Types {
		row(t)
	}
	row(Type{"all", len(i.Tensors), i.Parameters, i.WeightBytes, i.BitsPerWeight})
	return rows
}

// facts returns what the tree does not show, one fact a row.
func (i *Checkpoint) facts() [][]string {
	attention := fmt.Sprintf("%d query heads, %d key and value heads, %d dimensions each", i.Heads, i.KVHeads,
		i.HeadDim)
	window := "none: every token sees all earlier tokens"
	if i.SlidingWindow != nil {
		window = show.Thousands(int64(*i.SlidingWindow)) + " tokens"
		if *i.SlidingWindow >= i.MaxPositions {
			window += ", more than the context"
		}
	}
	var rows [][]string
	if i.title != i.Model {
		rows = append(rows, []string{"directory", i.Model})
	}
	rows = append(rows, [][]string{
		{"context", show.Thousands(int64(i.MaxPositions)) + " tokens"},
		{"attention", attention},
		{"sliding window", window},
		{"RoPE", i.RoPE.describe(i.HeadDim)},
		{"RMSNorm epsilon", strconv.FormatFloat(float64(i.Eps), 'g', -1, 32)},
		{"vocabulary", show.Thousands(int64(i.Vocab)) + " rows"},
	}...)
	switch {
	case i.headDiffers:
		rows = append(rows, []string{
			"LM head",
			"lm_head.weight (config.json says tied, but it differs from the embedding table)",
		})
	case i.Tied:
		rows = append(rows, []string{"LM head", "the embedding table (tied)"})
	}
	if i.Labels != nil {
		labels := strings.Join(i.Labels[:min(len(i.Labels), 10)], ", ")
		if len(i.Labels) > 10 {
			labels += ", …"
		}
		rows = append(rows, []string{"labels", fmt.Sprintf("%d: %s", len(i.Labels), show.Named(labels))})
	}
	row := func(name string, tokens ...Token) {
		words := []string{}
		for _, t := range tokens {
			word := strconv.Itoa(int(t.ID))
			if t.Piece != "" {
				word += " " + show.Piece(t.Piece, show.PieceColumns)
			}
			words = append(words, word)
		}
		if len(words) == 0 {
			words = []string{"none"}
		}
		rows = append(rows, []string{name, strings.Join(words, ", ")})
	}
	list := func(t *Token) []Token {
		if t == nil {
			return nil
		}
		return []Token{*t}
	}
	row("BOS", list(i.BOS)...)
	row("EOS (any ends)", i.EOS...)
	row("pad", list(i.Pad)...)
	if i.Tokenizer == nil {
		return append(rows, []string{"tokenizer", "tokenizer.json is not here"})
	}
	rows = append(rows, []string{"tokenizer", show.Thousands(int64(i.Tokenizer.Tokens)) + " tokens"})
	row("added to a text", i.Tokenizer.Adds...)
	template := "none"
	if i.Tokenizer.ChatTemplate {
		template = "yes"
	}
	return append(rows, []string{"chat template", template})
}

func (r *RoPE) describe(headDim int) string {
	text := fmt.Sprintf("plain, θ = %g", r.Theta)
	if r.Kind == "longrope" {
		text = fmt.Sprintf("long, θ = %g: short factors up to %s tokens, long ones beyond; "+
			"cos and sin × %.6g", r.Theta, show.Thousands(int64(r.OriginalMax)), r.AttentionFactor)
	}
	if r.Dim < headDim {
		text += fmt.Sprintf("; %d of %d dimensions rotate", r.Dim, headDim)
	}
	return text
}
