package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/picture"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// insideFlags ask next-token to look inside the model.
type insideFlags struct {
	layers    bool
	every     int    // of the layers shown; 0: as many as are easy to read
	attention string // LAYER[:HEAD], both from 1
	svg       string // file

	flags       *pflag.FlagSet
	layer, head int // parsed; layer 0: no attention asked for, head 0: all
}

func (f *insideFlags) register(flags *pflag.FlagSet) {
	f.flags = flags
	flags.BoolVar(&f.layers, "layers", false, "show what the model would say if it ended after each layer")
	flags.IntVar(&f.every, "every", 0, "with --layers or --svg: show every `n`th layer and the last "+
		"(default: all of up to 24, of more every 2nd, 3rd, …)")
	flags.StringVar(&f.attention, "attention", "",
		"show which tokens the last one looks at in this `layer[:head]`, both counted from 1")
	flags.StringVar(&f.svg, "svg", "", "draw the path from text to next token into this `file`")
}

func (f *insideFlags) parse() error {
	switch {
	case f.flags.Changed("svg") && f.svg == "":
		return usagef("--svg is empty, not the name of a file")
	case f.flags.Changed("every") && f.every < 1:
		return usagef("--every is %d, not 1 or more", f.every)
	case f.flags.Changed("every") && !f.lens():
		return usagef("--every is for --layers and --svg")
	case !f.flags.Changed("attention"):
		return nil
	}
	layer, head, named := strings.Cut(f.attention, ":")
	var err error
	if f.layer, err = strconv.Atoi(layer); err == nil && named {
		f.head, err = strconv.Atoi(head)
	}
	if err != nil || f.layer < 1 || named && f.head < 1 {
		return usagef("--attention is %q, not LAYER or LAYER:HEAD, both counted from 1", f.attention)
	}
	return nil
}

func (f *insideFlags) check(c *model.Config) error {
	switch {
	case f.layer > c.Layers:
		return usagef("--attention names layer %d, the model has layers 1 to %d", f.layer, c.Layers)
	case f.head > c.Heads:
		return usagef("--attention names head %d, a layer has heads 1 to %d", f.head, c.Heads)
	}
	return nil
}

// look asks for what the flags need, and for nothing that costs where they need nothing.
func (f *insideFlags) look(hidden bool) inspect.Look {
	look := inspect.Look{Hidden: hidden}
	if f.layer > 0 {
		look.Attention = []int{f.layer}
	}
	return look
}

// lens tells whether the flags ask for what the model would say after each layer.
func (f *insideFlags) lens() bool { return f.layers || f.svg != "" }

// insideView is what was seen, for --json.
type insideView struct {
	Layers    []layerView    `json:"layers,omitempty"`    // the embeddings, then each layer
	Attention *attentionView `json:"attention,omitempty"` // of the last position
}

// layerView is what the model would say if it ended after a layer.
type layerView struct {
	Layer  int         `json:"layer"` // 0: the embeddings
	Top    []candidate `json:"top"`   // the three most probable
	Answer candidate   `json:"answer"`
}

// attentionView is the weights of one head, or of all of a layer's.
type attentionView struct {
	Layer int        `json:"layer"` // from 1
	Heads []headView `json:"heads"`
}

type headView struct {
	Head    int       `json:"head"`    // from 1
	Weights []float64 `json:"weights"` // [tokens], their sum is 1
}

// lensTop is how many candidates a layer's line and bar have.
const lensTop = 3

// lookThroughLens asks for every layer's logits when the answer is known, so that a few numbers of each are
// kept and not a vocabulary.
func lookThroughLens(
	ctx context.Context, text *inspect.Text, t *tokenizer.Tokenizer, answer int32,
) (layers []layerView, err error) {
	failed := text.Lens(ctx, func(layer int, logits []float32) {
		r := rank(t, logits)
		if math.IsNaN(r.total) || math.IsInf(r.total, 0) {
			err = fmt.Errorf("after layer %d the logits are not all numbers", layer)
			return
		}
		layers = append(layers, layerView{Layer: layer, Top: r.first(lensTop), Answer: r.of(answer)})
	})
	if failed != nil {
		err = failed
	}
	return layers, err
}

// easyLayers is how many layers a table or a picture has without --every.
const easyLayers = 24

// thinned are the layers to show: the embeddings, every nth layer and the last.
func (f *insideFlags) thinned(layers []layerView) (shown []layerView) {
	last := len(layers) - 1
	every := f.every
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

// layersShown says that some are left out.
func layersShown(shown []layerView) string {
	return fmt.Sprintf("%d of %d layers; --every 1 shows all", len(shown)-1, shown[len(shown)-1].Layer)
}

// attended is what --attention shows of a layer's weights [heads][tokens].
func (f *insideFlags) attended(attention [][][]float64) *attentionView {
	if f.layer == 0 {
		return nil
	}
	v := &attentionView{Layer: f.layer}
	for i, weights := range attention[0] {
		if f.head == 0 || f.head == i+1 {
			v.Heads = append(v.Heads, headView{i + 1, weights})
		}
	}
	return v
}

// writeInside adds the tables of --layers and --attention for people.
func (v *insideView) writeInside(b *strings.Builder, input []token, answer candidate) {
	if v.Attention != nil {
		v.Attention.write(b, input)
	}
	if len(v.Layers) == 0 {
		return
	}
	b.WriteString("\nif the model ended after each layer\n\n")
	rows := [][]string{{"layer", "it would say", "", "", "", "", "", shownPiece(answer.Piece), "rank"}}
	if last := v.Layers[len(v.Layers)-1].Layer; last+1 > len(v.Layers) {
		show.Fprintf(b, "(%s)\n\n", layersShown(v.Layers))
	}
	for _, l := range v.Layers {
		row := []string{layerName(l.Layer)}
		for i := range lensTop {
			if i < len(l.Top) {
				row = append(row, show.Piece(l.Top[i].Piece, lensColumns), percent(l.Top[i].Probability))
			} else {
				row = append(row, "", "")
			}
		}
		rows = append(rows, append(row, percent(l.Answer.Probability), fmt.Sprint(l.Answer.Rank)))
	}
	b.WriteString(show.Table(rows))
}

const (
	lensColumns   = 16 // of a piece in the table of layers, which has three in a row
	attentionRows = 40 // of the table of attention: the tokens that are looked at most
)

// write prints the mean of the heads, or the one head, token by token, and for several heads what each looks
// at most.
func (a *attentionView) write(b *strings.Builder, input []token) {
	mean := make([]float64, len(input))
	for _, h := range a.Heads {
		for i, w := range h.Weights {
			mean[i] += w / float64(len(a.Heads))
		}
	}
	show.Fprintf(b, "\n%s: what %s, the last token, looks at\n\n", a.title(),
		shownPiece(input[len(input)-1].Piece))
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
		bar := strings.Repeat("█", int(math.Round(30*mean[i]/top)))
		rows = append(rows, []string{
			fmt.Sprint(i), fmt.Sprint(input[i].ID),
			show.Piece(input[i].Piece, lensColumns), percent(mean[i]), bar,
		})
		left -= mean[i]
	}
	if n := len(input) - len(positions); n > 0 {
		rows = append(rows, []string{"others", "", show.Thousands(int64(n)), percent(max(0, left))})
	}
	b.WriteString(show.Table(rows))
	if len(a.Heads) == 1 {
		return
	}
	rows = [][]string{{"head", "looks most at", "weight"}}
	for _, h := range a.Heads {
		most := slices.Index(h.Weights, slices.Max(h.Weights))
		rows = append(rows, []string{
			fmt.Sprint(h.Head),
			fmt.Sprintf("%d %s", most, show.Piece(input[most].Piece, lensColumns)), percent(h.Weights[most]),
		})
	}
	b.WriteString("\n")
	b.WriteString(show.Table(rows))
}

func (a *attentionView) title() string {
	if len(a.Heads) == 1 {
		return fmt.Sprintf("attention of layer %d, head %d", a.Layer, a.Heads[0].Head)
	}
	return fmt.Sprintf("attention of layer %d, mean of %d heads", a.Layer, len(a.Heads))
}

func layerName(layer int) string {
	if layer == 0 {
		return "embedding"
	}
	return fmt.Sprint(layer)
}

// draw writes the picture of --svg.
func (f *insideFlags) draw(a *inspection) error {
	convert := func(cs []candidate) (out []picture.Candidate) {
		for _, c := range cs {
			out = append(out, picture.Candidate{
				Token:       picture.Token{ID: c.ID, Piece: c.Piece},
				Probability: c.Probability,
			})
		}
		return out
	}
	data := picture.PathData{
		Model: a.title, Prompt: a.Prompt, Next: convert(a.Top),
		Answer: picture.Token{ID: a.Argmax.ID, Piece: a.Argmax.Piece},
	}
	for _, in := range a.Input {
		data.Tokens = append(data.Tokens, picture.Token{ID: in.ID, Piece: in.Piece})
	}
	shown := f.thinned(a.Layers)
	if len(shown) < len(a.Layers) {
		data.Left = layersShown(shown)
	}
	for _, l := range shown {
		name := layerName(l.Layer)
		if l.Layer > 0 {
			name = "layer " + name
		}
		data.Layers = append(data.Layers,
			picture.Layer{Name: name, Top: convert(l.Top), Answer: l.Answer.Probability})
	}
	if a.Attention != nil {
		data.Attention = &picture.Attention{Title: fmt.Sprintf("What the last token looks at in layer %d",
			a.Attention.Layer)}
		for _, h := range a.Attention.Heads {
			data.Attention.Rows = append(data.Attention.Rows,
				picture.AttentionRow{Name: fmt.Sprintf("head %d", h.Head), Weights: h.Weights})
		}
	}
	return writePicture(f.svg, []byte(picture.Path(&data)))
}
