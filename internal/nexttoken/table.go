package nexttoken

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"phi3/internal/show"
)

// A table of a longer prompt shows its two ends only.
const (
	longPrompt = 100 // tokens
	promptEnd  = 40  // tokens shown at each end
)

const (
	lensColumns   = 16 // of a piece in the table of layers, which has three in a row
	attentionRows = 40 // of a long prompt's table of attention: the tokens with the largest weights
)

// WriteTables writes the report as tables, with every nth layer as [Thin] chooses them.
func (r *Report) WriteTables(w io.Writer, every int) error {
	var b strings.Builder
	show.Fprintf(&b, "input: %s tokens\n\n", show.Thousands(int64(len(r.Input))))
	rows := [][]string{{"position", "id", "piece"}}
	eachShown(len(r.Input), func(i int) {
		rows = append(rows, []string{fmt.Sprint(i), fmt.Sprint(r.Input[i].ID), piece(r.Input[i])})
	}, func(n int) { rows = append(rows, []string{"…", fmt.Sprintf("%s more", show.Thousands(int64(n)))}) })
	b.WriteString(show.Table(rows))
	if r.Hidden != nil {
		show.Fprintf(&b, "\nlast hidden state [1, %d, %d]\n", r.Shape[1], r.Shape[2])
		eachShown(len(r.Hidden), func(i int) { b.WriteString(ends(r.Hidden[i]) + "\n") }, func(n int) {
			show.Fprintf(&b, "… %s more\n", show.Thousands(int64(n)))
		})
	}
	if r.Attention != nil {
		r.Attention.write(&b, r.Input)
	}
	if len(r.Layers) > 0 {
		writeLayers(&b, Thin(r.Layers, every), len(r.Layers)-1, r.Argmax)
	}
	show.Fprintf(&b, "\nnext token: %d %s\n\n", r.Argmax.ID, piece(r.Argmax.Token))
	r.writeCandidates(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeCandidates writes the most probable tokens and the named ones as one table, so that their columns
// agree.
func (r *Report) writeCandidates(b *strings.Builder) {
	rows := [][]string{{"rank", "id", "piece", "logit", "probability", "cumulative"}}
	for _, c := range slices.Concat(r.Top, r.Tokens) {
		rows = append(rows, []string{
			fmt.Sprint(c.Rank), fmt.Sprint(c.ID), piece(c.Token), fmt.Sprintf("%.4f", c.Logit),
			show.Percent(c.Probability), show.Percent(c.Cumulative),
		})
	}
	lines := slices.Collect(strings.Lines(show.Table(rows)))
	b.WriteString(strings.Join(lines[:1+len(r.Top)], ""))
	if len(r.Tokens) > 0 {
		b.WriteString("\nnamed tokens\n" + strings.Join(lines[1+len(r.Top):], ""))
	}
}

// eachShown calls show for each of n positions that a table has, and skip with the number of those between
// that it has not.
func eachShown(n int, show func(position int), skip func(tokens int)) {
	for i := 0; i < n; i++ {
		if n > longPrompt && i == promptEnd {
			skip(n - 2*promptEnd)
			i = n - promptEnd
		}
		show(i)
	}
}

// writeLayers writes what the model would say after each of the layers, out of all.
func writeLayers(b *strings.Builder, layers []Layer, all int, answer Candidate) {
	b.WriteString("\nif the model ended after each layer\n\n")
	if len(layers) <= all {
		show.Fprintf(b, "(%s)\n\n", leftOut(layers, all))
	}
	rows := [][]string{{"layer", "it would say", "", "", "", "", "", piece(answer.Token), "rank"}}
	for _, l := range layers {
		row := []string{layerName(l.Layer)}
		for i := range lensTop {
			if i < len(l.Top) {
				row = append(row, show.Piece(l.Top[i].Piece, lensColumns), show.Percent(l.Top[i].Probability))
			} else {
				row = append(row, "", "")
			}
		}
		rows = append(rows, append(row, show.Percent(l.Answer.Probability), fmt.Sprint(l.Answer.Rank)))
	}
	b.WriteString(show.Table(rows))
}

// leftOut says that of all layers only some are shown, besides the embeddings.
func leftOut(shown []Layer, all int) string {
	return fmt.Sprintf("%d of %d layers; --every 1 shows all", len(shown)-1, all)
}

func layerName(layer int) string {
	if layer == 0 {
		return "embedding"
	}
	return fmt.Sprint(layer)
}

// write writes the mean of the heads' weights for each token, and for several heads the token that each looks
// at most.
func (a *LayerAttention) write(b *strings.Builder, input []Token) {
	mean := make([]float64, len(input))
	for _, h := range a.Heads {
		for i, w := range h.Weights {
			mean[i] += w / float64(len(a.Heads))
		}
	}
	show.Fprintf(b, "\n%s: what %s, the last token, looks at\n\n", a.title(), piece(input[len(input)-1]))
	positions := make([]int, len(input))
	for i := range positions {
		positions[i] = i
	}
	if len(input) > longPrompt {
		slices.SortStableFunc(positions, func(a, b int) int { return cmp.Compare(mean[b], mean[a]) })
		positions = positions[:attentionRows]
		slices.Sort(positions)
	}
	rows, top, left := [][]string{{"position", "id", "piece", "weight"}}, slices.Max(mean), 1.0
	for _, i := range positions {
		rows = append(rows, []string{
			fmt.Sprint(i), fmt.Sprint(input[i].ID), show.Piece(input[i].Piece, lensColumns),
			show.Percent(mean[i]), strings.Repeat("█", int(math.Round(30*mean[i]/top))),
		})
		left -= mean[i]
	}
	if n := len(input) - len(positions); n > 0 {
		rows = append(rows, []string{"others", "", show.Thousands(int64(n)), show.Percent(max(0, left))})
	}
	b.WriteString(show.Table(rows))
	if len(a.Heads) == 1 {
		return
	}
	rows = [][]string{{"head", "looks most at", "weight"}}
	for _, h := range a.Heads {
		most := slices.Index(h.Weights, slices.Max(h.Weights))
		rows = append(rows, []string{
			fmt.Sprint(h.Head), fmt.Sprintf("%d %s", most, show.Piece(input[most].Piece, lensColumns)),
			show.Percent(h.Weights[most]),
		})
	}
	b.WriteString("\n" + show.Table(rows))
}

func (a *LayerAttention) title() string {
	if len(a.Heads) == 1 {
		return fmt.Sprintf("attention of layer %d, head %d", a.Layer, a.Heads[0].Head)
	}
	return fmt.Sprintf("attention of layer %d, mean of %d heads", a.Layer, len(a.Heads))
}

func piece(t Token) string { return show.Piece(t.Piece, show.PieceColumns) }

// ends shows the first and the last three values of a row, as PyTorch prints a long tensor.
func ends(row []float32) string {
	part := func(values []float32) string {
		words := make([]string, len(values))
		for i, x := range values {
			words[i] = fmt.Sprintf("%7.4f", x)
		}
		return strings.Join(words, ", ")
	}
	if len(row) <= 6 {
		return "[" + part(row) + "]"
	}
	return "[" + part(row[:3]) + ", ..., " + part(row[len(row)-3:]) + "]"
}
