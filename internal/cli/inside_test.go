package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/nexttoken"
	"phi3/internal/show"
)

// A vocabulary may have a piece of 4,096 bytes. Tables and pictures show its beginning, JSON all of it.
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

func TestHiddenStates(t *testing.T) {
	run := func(args ...string) (code int, out, stderr string) {
		var o, e bytes.Buffer
		code = Main(append([]string{"next-token", "-p", "The capital of Germany is", "--hidden-states"},
			args...), strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	code, out, _ := run("--json")
	require.Zero(t, code)
	var a nexttoken.Report
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
