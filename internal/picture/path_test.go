package picture

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden pictures; look at them before they are "+
	"committed")

var berlin = PathData{
	Model: "phi3-demo", Prompt: "The capital of Germany is",
	Tokens: []Token{{303, "▁The"}, {288, "▁capital"}, {285, "▁of"}, {1704, "▁Germany"}, {268, "▁is"}},
	Layers: []Layer{
		{
			Name: "embedding", Top: []Candidate{{Token{7, "▁wrong"}, 0.07}, {Token{8, "▁a"}, 0.04}},
			Answer: 0.0001,
		},
		{
			Name: "layer 1", Top: []Candidate{{Token{2298, "▁Berlin"}, 0.75}, {Token{931, "▁Vi"}, 0.06}},
			Answer: 0.75,
		},
	},
	Answer: Token{2298, "▁Berlin"},
	Next:   []Candidate{{Token{2298, "▁Berlin"}, 0.75}, {Token{931, "▁Vi"}, 0.06}},
	Attention: &Attention{
		Title: "What the last token looks at in layer 1",
		Rows:  []AttentionRow{{"head 1", []float64{0, 0.04, 0, 0.96, 0}}},
	},
}

func TestPath(t *testing.T) {
	svg := Path(&berlin)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile("testdata/path.svg", []byte(svg), 0o644))
	}
	want, err := os.ReadFile("testdata/path.svg")
	require.NoError(t, err)
	require.Equal(t, string(want), svg)

	found := elements(t, svg)
	checkLayout(t, found)
	var bars []float64
	for _, e := range found {
		if e.name == "rect" && strings.HasPrefix(e.attributes["class"], "answer") {
			bars = append(bars, e.number(t, "width"))
		}
	}
	require.Len(t, bars, 2, "the answer's bar after layer 1 and in the final distribution")
	require.InDelta(t, 0.75*(pageWidth-2*margin-pageLabel-pageRight), bars[0], 0.1)
	require.InDelta(t, 0.75*(pageWidth-2*margin-226-pageRight), bars[1], 0.1)
}

var hostile = []string{
	"<|end|>", "&amp;\"'", "\x00\x1b[2J", "\xff\xfe", "", strings.Repeat("x",
		500), "日本語", "👩‍👩‍👧", "▁", "\ufffe", " ", "\n\n", "\u202eabc",
	"مرحبا بالعالم", "\u0301", "]]>", "--><script>", strings.Repeat("\u0301", 1000), strings.Repeat("日",
		300), "</text>",
}

// Nothing lies outside the page or on another text, nothing breaks the XML, and long prompts keep their ends.
func TestPathHoldsAnything(t *testing.T) {
	for _, n := range []int{1, 9, 48, 49, 4096} {
		for _, probability := range []float64{1e-9, 0.3, 1} {
			p := PathData{
				Model:  strings.Repeat(hostile[0], 100),
				Prompt: strings.Repeat(strings.Join(hostile, " "), n), Left: "16 of 32 layers",
			}
			p.Attention = &Attention{Title: "attention"}
			weights := make([]float64, n)
			for i := range n {
				p.Tokens = append(p.Tokens, Token{int32(200000 - i), hostile[i%len(hostile)]})
				weights[i] = 1 / float64(n)
			}
			p.Tokens[n-1].Piece = "the-last-one"
			for h := range 100 {
				p.Attention.Rows = append(p.Attention.Rows, AttentionRow{fmt.Sprint("head ", h+1), weights})
			}
			for i := range 25 {
				p.Layers = append(p.Layers,
					Layer{Name: fmt.Sprint("layer ", 9900+i), Answer: 1e-9, Top: []Candidate{
						{Token{int32(i), hostile[i%len(hostile)]}, 0.7 * probability}, {
							Token{5, hostile[6]},
							0.2 * probability,
						}, {Token{6, hostile[5]}, 0.1 * probability},
					}})
			}
			for i := range 2560 {
				p.Next = append(p.Next, Candidate{
					Token{int32(200000 + i), hostile[i%len(hostile)]},
					probability,
				})
			}
			p.Answer = p.Next[5].Token
			svg := Path(&p)
			require.Less(t, len(svg), 3<<20/2)
			found := elements(t, svg)
			checkLayout(t, found)
			require.Contains(t, said(found), "the-last-one")
			require.Contains(t, said(found), "… 36 more")
			if n > tokenLimit {
				require.Contains(t, said(found), fmt.Sprintf("… %d more …", n-tokenLimit))
			}
			for _, c := range svg {
				require.True(t, c == '\n' || c >= ' ' && (c < 0x7f || c >= 0xa0) && c != 0xfffe, "%q", c)
			}
		}
	}
}

// What is between the tokens that are shown is one cell, with their weight.
func TestAttentionOfLongPrompt(t *testing.T) {
	const n = 100
	p := PathData{Model: "m", Answer: Token{1, "x"}, Attention: &Attention{Title: "attention"}}
	weights := make([]float64, n)
	for i := range n {
		p.Tokens = append(p.Tokens, Token{int32(i), "a"})
	}
	weights[0], weights[8], weights[59], weights[60] = 0.25, 0.09, 0.16, 0.5
	p.Attention.Rows = []AttentionRow{{"head 1", weights}}
	var opacity []string
	for _, e := range elements(t, Path(&p)) {
		if e.attributes["class"] == "cell" {
			opacity = append(opacity, e.attributes["fill-opacity"])
		}
	}
	require.Len(t, opacity, tokenLimit+1)
	require.Equal(t, "0.500", opacity[0])
	require.Equal(t, "0.500", opacity[firstShown], "positions 8 to 59")
	require.Equal(t, "0.707", opacity[firstShown+1])
}

func TestEnds(t *testing.T) {
	for _, x := range []struct {
		in   string
		want []string
	}{
		{"a b", []string{"a b"}},
		{" a  b ", []string{"␣a␣␣b␣"}},
		{"a\nb", []string{"a↵b"}},
		{"0123456789", []string{"0123456789"}},
		{"0123456789a", []string{"012345678…", "…23456789a"}},
		{"日本語日本語", []string{"日本語日…", "…語日本語"}},
		{strings.Repeat("x", 1<<20) + "the end", []string{"xxxxxxxxx…", "…xxthe end"}},
		{strings.Repeat("日", 1<<20), []string{"日日日日…", "…日日日日"}},
	} {
		require.Equal(t, x.want, ends(x.in, 10), "%.20q", x.in)
	}
}
