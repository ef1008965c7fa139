package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/picture"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// insideFlags ask next-token to look inside the model.
type insideFlags struct {
	layers    bool
	attention string // LAYER[:HEAD], both from 1
	svg       string // file

	layer, head int // parsed; layer 0: no attention asked for, head 0: all
}

func (f *insideFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.layers, "layers", false, "show what the model would say if it ended after each layer")
	flags.StringVar(&f.attention, "attention", "", "show which tokens the last one looks at in this `layer[:head]`, both counted from 1")
	flags.StringVar(&f.svg, "svg", "", "draw the path from text to next token into this `file`")
}

func (f *insideFlags) parse() error {
	if f.attention == "" {
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
func (f *insideFlags) look(hidden bool, l *lens) generate.Look {
	look := generate.Look{Hidden: hidden}
	if f.layers || f.svg != "" {
		look.EachLens = l.see
	}
	if f.layer > 0 {
		look.Attention = []int{f.layer}
	}
	return look
}

// lens holds the logits [vocab] after every layer.
type lens struct{ logits [][]float32 }

func (l *lens) see(_ int, logits []float32) { l.logits = append(l.logits, slices.Clone(logits)) }

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

func (f *insideFlags) view(t *tokenizer.Tokenizer, l *lens, answer int32, attention [][][]float64) (v insideView) {
	for i, logits := range l.logits {
		ranked := rank(t, logits)
		layer := layerView{Layer: i, Top: ranked[:min(lensTop, len(ranked))]}
		layer.Answer = ranked[slices.IndexFunc(ranked, func(c candidate) bool { return c.ID == answer })]
		layer.Answer.token = describe(t, answer)
		for j := range layer.Top {
			layer.Top[j].token = describe(t, layer.Top[j].ID)
		}
		v.Layers = append(v.Layers, layer)
	}
	if f.layer == 0 {
		return v
	}
	v.Attention = &attentionView{Layer: f.layer}
	for i, weights := range attention[0] {
		if f.head == 0 || f.head == i+1 {
			v.Attention.Heads = append(v.Attention.Heads, headView{i + 1, weights})
		}
	}
	return v
}

// writeInside prints the tables of --layers and --attention for people.
func (v *insideView) writeInside(w io.Writer, input []token, answer candidate) {
	p := func(format string, args ...any) { _, _ = show.Fprintf(w, format, args...) } // the error comes out of Flush
	if v.Attention != nil {
		v.Attention.write(p, input)
	}
	if len(v.Layers) == 0 {
		return
	}
	p("\nif the model ended after each layer\n\nlayer\tit would say\t\t\t\t\t\t%s\trank\n", visible(answer.Piece))
	for _, l := range v.Layers {
		p("%s", layerName(l.Layer))
		for i := range lensTop {
			if i < len(l.Top) {
				p("\t%s\t%s", visible(l.Top[i].Piece), percent(l.Top[i].Probability))
			} else {
				p("\t\t")
			}
		}
		p("\t%s\t%d\n", percent(l.Answer.Probability), l.Answer.Rank)
	}
}

// write prints the mean of the heads, or the one head, token by token, and for several heads what each looks at most.
func (a *attentionView) write(p func(string, ...any), input []token) {
	mean := make([]float64, len(input))
	for _, h := range a.Heads {
		for i, w := range h.Weights {
			mean[i] += w / float64(len(a.Heads))
		}
	}
	p("\n%s: what %s, the last token, looks at\n\nposition\tid\tpiece\tweight\n", a.title(), visible(input[len(input)-1].Piece))
	top := slices.Max(mean)
	for i, in := range input {
		p("%d\t%d\t%s\t%s\t%s\n", i, in.ID, visible(in.Piece), percent(mean[i]), strings.Repeat("█", int(math.Round(30*mean[i]/top))))
	}
	if len(a.Heads) == 1 {
		return
	}
	p("\nhead\tlooks most at\tweight\n")
	for _, h := range a.Heads {
		most := slices.Index(h.Weights, slices.Max(h.Weights))
		p("%d\t%d %s\t%s\n", h.Head, most, visible(input[most].Piece), percent(h.Weights[most]))
	}
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
			out = append(out, picture.Candidate{Token: picture.Token{ID: c.ID, Piece: visible(c.Piece)}, Probability: c.Probability})
		}
		return out
	}
	data := picture.PathData{
		Model: a.Model, Prompt: visible(a.Prompt), Next: convert(a.Top),
		Answer: picture.Token{ID: a.Argmax.ID, Piece: visible(a.Argmax.Piece)},
	}
	for _, in := range a.Input {
		data.Tokens = append(data.Tokens, picture.Token{ID: in.ID, Piece: visible(in.Piece)})
	}
	for _, l := range a.Layers {
		name := layerName(l.Layer)
		if l.Layer > 0 {
			name = "layer " + name
		}
		data.Layers = append(data.Layers, picture.Layer{Name: name, Top: convert(l.Top), Answer: l.Answer.Probability})
	}
	if a.Attention != nil {
		data.Attention = &picture.Attention{Title: fmt.Sprintf("What the last token looks at in layer %d", a.Attention.Layer)}
		for _, h := range a.Attention.Heads {
			data.Attention.Rows = append(data.Attention.Rows, picture.AttentionRow{Name: fmt.Sprintf("head %d", h.Head), Weights: h.Weights})
		}
	}
	if err := os.WriteFile(f.svg, []byte(picture.Path(&data)), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}
