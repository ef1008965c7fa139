package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/show"
)

// A vocabulary may have a piece of 4,096 bytes. Tables and pictures show a beginning of it, JSON has the
// whole.
func TestLongPiece(t *testing.T) {
	const size = 4096
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, demo.FS()))
	file := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var tokenizer map[string]any
	require.NoError(t, json.Unmarshal(data, &tokenizer))
	vocab := tokenizer["model"].(map[string]any)["vocab"].(map[string]any)
	id, ok := vocab["z"]
	require.True(t, ok)
	long := strings.Repeat("z", size)
	delete(vocab, "z")
	tokenizer["model"].(map[string]any)["merges"] = []any{} // some of them made words with it
	vocab[long] = id
	data, err = json.Marshal(tokenizer)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o644))

	svg := filepath.Join(dir, "path.svg")
	run := func(args ...string) string {
		var out, stderr bytes.Buffer
		require.Zero(t, Main(append(args, "--model", dir, "--prompt", "The z"), strings.NewReader(""), &out,
			&stderr), stderr.String())
		return out.String()
	}
	for _, line := range strings.Split(run("next-token", "--top", "2560", "--layers", "--svg", svg), "\n") {
		require.LessOrEqual(t, show.Width(line), 160)
	}
	require.Contains(t, run("next-token", "--top", "2560", "--json"), long)
	picture, err := os.ReadFile(svg)
	require.NoError(t, err)
	require.Less(t, len(picture), 1<<17)
	require.NoError(t, xml.Unmarshal(picture, new(struct{})))
}

// The layers' logits are looked at one at a time; the numbers are those of all logits in hand.
func TestLens(t *testing.T) {
	var all, few bytes.Buffer
	require.Zero(t, Main([]string{"next-token", "-p", "The capital of Germany is", "--layers", "--json"},
		strings.NewReader(""), &all, io.Discard))
	require.Zero(t, Main([]string{
		"next-token", "-p", "The capital of Germany is", "--layers", "--json",
		"--every", "3",
	}, strings.NewReader(""), &few, io.Discard))
	var a, b inspection
	require.NoError(t, json.Unmarshal(all.Bytes(), &a))
	require.NoError(t, json.Unmarshal(few.Bytes(), &b))
	require.Len(t, a.Layers, 5)
	require.Equal(t, []layerView{a.Layers[0], a.Layers[3], a.Layers[4]}, b.Layers)
	require.Equal(t, a.Top[:lensTop], a.Layers[4].Top, "the last layer is the answer")
	require.Equal(t, a.Argmax, a.Layers[4].Answer)
}

func TestThinned(t *testing.T) {
	for _, c := range []struct {
		layers, every int
		first, shown  int // of the layers after the embeddings
	}{
		{4, 0, 1, 4}, {24, 0, 1, 24}, {32, 0, 2, 16}, {40, 0, 2, 20}, {80, 0, 4, 20}, {41, 0, 2, 21}, {
			1000,
			0, 42, 24,
		}, {32, 1, 1, 32}, {32, 5, 5, 7}, {4, 100, 4, 1},
	} {
		layers := make([]layerView, c.layers+1)
		for i := range layers {
			layers[i].Layer = i
		}
		f := insideFlags{every: c.every}
		shown := f.thinned(layers)
		require.Equal(t, 0, shown[0].Layer)
		require.Equal(t, c.first, shown[1].Layer, c)
		require.Len(t, shown, 1+c.shown, c)
		require.Equal(t, c.layers, shown[len(shown)-1].Layer)
	}
}

func TestHiddenStates(t *testing.T) {
	run := func(args ...string) (code int, out, stderr string) {
		var o, e bytes.Buffer
		code = Main(append([]string{"next-token", "-p", "The capital of Germany is", "--hidden-states"},
			args...), strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	code, out, _ := run("--json")
	require.Zero(t, code)
	var a inspection
	require.NoError(t, json.Unmarshal([]byte(out), &a), "written row by row, it is one object")
	require.Len(t, a.Hidden, 5)
	require.Len(t, a.Hidden[4], 192)
	require.Equal(t, []int{1, 5, 192}, a.Shape)
	require.Equal(t, "▁Berlin", a.Argmax.Piece)

	defer func(n int) { maxHidden = n }(maxHidden)
	maxHidden = 4 * 192
	code, _, stderr := run()
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "the hidden states of 5 tokens are 3.84 kB; --hidden-states keeps up to "+
		"3.07 kB: shorten the prompt")
	maxHidden = 5 * 192
	code, _, _ = run()
	require.Zero(t, code)
}
