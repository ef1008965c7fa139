package picture

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden pictures anew; look at them before they are committed")

// elements reads a picture as XML and returns its elements' attributes by name, and all text.
func elements(t *testing.T, svg string) (found map[string][]map[string]string, text string) {
	t.Helper()
	found = map[string][]map[string]string{}
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var words strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found, words.String()
		}
		require.NoError(t, err)
		switch e := token.(type) {
		case xml.StartElement:
			attributes := map[string]string{}
			for _, a := range e.Attr {
				attributes[a.Name.Local] = a.Value
			}
			found[e.Name.Local] = append(found[e.Name.Local], attributes)
		case xml.CharData:
			words.Write(e)
		}
	}
}

var berlin = PathData{
	Model: "phi3-demo", Prompt: "The capital of Germany is",
	Tokens: []Token{{303, "▁The"}, {288, "▁capital"}, {285, "▁of"}, {1704, "▁Germany"}, {268, "▁is"}},
	Layers: []Layer{
		{Name: "embedding", Top: []Candidate{{Token{7, "▁wrong"}, 0.07}, {Token{8, "▁a"}, 0.04}}, Answer: 0.0001},
		{Name: "layer 1", Top: []Candidate{{Token{2298, "▁Berlin"}, 0.75}, {Token{931, "▁Vi"}, 0.06}}, Answer: 0.75},
	},
	Answer:    Token{2298, "▁Berlin"},
	Next:      []Candidate{{Token{2298, "▁Berlin"}, 0.75}, {Token{931, "▁Vi"}, 0.06}},
	Attention: &Attention{Title: "What the last token looks at in layer 1", Rows: []AttentionRow{{"head 1", []float64{0, 0.04, 0, 0.96, 0}}}},
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

	found, _ := elements(t, svg)
	var bars []float64
	for _, rect := range found["rect"] {
		if rect["class"] == "answer" {
			width, err := strconv.ParseFloat(rect["width"], 64)
			require.NoError(t, err)
			bars = append(bars, width)
		}
	}
	require.Len(t, bars, 2, "the answer's bar after layer 1 and in the final distribution")
	require.InDelta(t, 0.75*(pageWidth-2*margin-pageLabel-62), bars[0], 0.1)
	require.InDelta(t, 0.75*(pageWidth-2*margin-190-62), bars[1], 0.1)
}

// Nothing lies outside the page, no text breaks the XML, and long prompts keep their ends.
func TestPathHoldsAnything(t *testing.T) {
	hostile := []string{"<|end|>", "&amp;\"'", "\x00\x1b[2J", "\xff\xfe", "", strings.Repeat("x", 500), "日本語", "👩‍👩‍👧", "▁", "\ufffe"}
	for _, n := range []int{1, 9, 48, 49, 4096} {
		p := PathData{Model: hostile[0], Prompt: strings.Join(hostile, " "), Attention: &Attention{Title: "attention"}}
		weights := make([]float64, n)
		for i := range n {
			p.Tokens = append(p.Tokens, Token{int32(i), hostile[i%len(hostile)]})
			weights[i] = 1 / float64(n)
		}
		p.Tokens[n-1].Piece = "the-last-one"
		for h := range 32 {
			p.Attention.Rows = append(p.Attention.Rows, AttentionRow{fmt.Sprint(h), weights})
		}
		for i := range 33 {
			p.Layers = append(p.Layers, Layer{Name: fmt.Sprint("layer ", i), Answer: 1e-9, Top: []Candidate{
				{Token{int32(i), hostile[i%len(hostile)]}, 1e-6}, {Token{5, "b"}, 0.9}, {Token{6, hostile[5]}, 0.09},
			}})
		}
		p.Next = p.Layers[3].Top
		found, text := elements(t, Path(&p))
		require.Contains(t, text, "the-last-one")
		page := found["svg"][0]
		width, _ := strconv.ParseFloat(page["width"], 64)
		height, _ := strconv.ParseFloat(page["height"], 64)
		number := func(s string) float64 {
			v, err := strconv.ParseFloat(s, 64)
			require.NoError(t, err)
			return v
		}
		for _, rect := range found["rect"][1:] {
			require.LessOrEqual(t, number(rect["x"])+number(rect["width"]), width)
			require.LessOrEqual(t, number(rect["y"])+number(rect["height"]), height)
		}
		for _, text := range found["text"] {
			if text["transform"] == "" {
				require.LessOrEqual(t, number(text["y"]), height)
				require.GreaterOrEqual(t, number(text["x"]), margin)
				require.LessOrEqual(t, number(text["x"]), width)
			}
		}
		if n > tokenLimit {
			require.Contains(t, text, strings.ReplaceAll(fmt.Sprintf("… %d more …", n-tokenLimit), " ", "\u00a0"))
		}
	}
}

func TestFit(t *testing.T) {
	for _, x := range []struct {
		in   string
		room int
		want string
	}{{"Berlin", 6, "Berlin"}, {"Berlin", 5, "Berl…"}, {"日本語", 5, "日本…"}, {"日本語", 6, "日本語"}, {"e\u0301", 1, "e\u0301"}, {"ab", 1, "…"}} {
		require.Equal(t, x.want, fit(x.in, x.room), x.in)
	}
}
