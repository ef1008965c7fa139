package backendtest

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// Golden is what Hugging Face computed for one checkpoint; testdata/README.md describes the files.
type Golden struct {
	Dir        string // of the checkpoint
	WideWindow bool   // made by a transformers whose sliding window was one wider
	Prompts    []Prompt
	Texts      []LabelledText // of a checkpoint with a classification head
	arrays     *safetensors.File
}

// Prompt is one input, and the positions that its golden arrays cover.
type Prompt struct {
	Name       string  `json:"name"`
	IDs        []int32 `json:"ids"`
	Positions  []int   `json:"positions"`
	GreedyF32  Greedy  `json:"greedy_f32"`
	GreedyBF16 Greedy  `json:"greedy_bf16"`
	Pooled     int     `json:"pooled"` // position that labels the whole, for a head that does
}

// LabelledText is the result of transformers' pipeline for a text: for each problem type a score for each
// label, or the best label of each token.
type LabelledText struct {
	Text   string                        `json:"text"`
	IDs    []int32                       `json:"ids"`
	Scores map[string]map[string]float64 `json:"scores"`
	Tokens []struct {
		Word, Label string
		Score       float64
	} `json:"tokens"`
}

// Greedy is a greedy continuation, with the distance between the two largest logits at every step.
type Greedy struct {
	IDs  []int32   `json:"ids"`
	Gaps []float64 `json:"gaps"`
}

// Goldens reads every golden below the project's testdata folder, by the name of its directory.
func Goldens(t testing.TB, testdata string) map[string]*Golden {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata, "*", "golden.json"))
	require.NoError(t, err)
	goldens := map[string]*Golden{}
	for _, file := range files {
		dir := filepath.Dir(file)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		g := &Golden{Dir: dir}
		var j struct {
			Checkpoint string
			WideWindow bool `json:"sliding_window_compat"`
			Prompts    []Prompt
			Texts      []LabelledText
		}
		require.NoError(t, json.Unmarshal(data, &j), file)
		g.Prompts, g.WideWindow, g.Texts = j.Prompts, j.WideWindow, j.Texts
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
			// the demo's goldens are here, its checkpoint is not
			g.Dir = filepath.Join(testdata, "..", j.Checkpoint)
		}
		g.arrays, err = safetensors.ReadFile(os.DirFS(dir), "golden.safetensors")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.arrays.Close()) })
		goldens[filepath.Base(dir)] = g
	}
	for _, name := range []string{"mini", "medium"} {
		require.Contains(t, goldens, name, "testdata is incomplete")
	}
	return goldens
}

// FS is the checkpoint's directory.
func (g *Golden) FS() fs.FS { return os.DirFS(g.Dir) }

// Has reports whether there is a golden array of that name.
func (g *Golden) Has(name string) bool {
	_, ok := g.arrays.Tensor(name)
	return ok
}

// Array returns a golden array as its rows, which are the last dimension of its shape.
func (g *Golden) Array(t testing.TB, name string) [][]float32 {
	t.Helper()
	a, ok := g.arrays.Tensor(name)
	require.True(t, ok, "%s has no array %s", g.Dir, name)
	require.Equal(t, weight.F32, a.Format, name)
	width := a.Shape[len(a.Shape)-1]
	rows := make([][]float32, a.Elems()/width)
	for i := range rows {
		rows[i] = make([]float32, width)
		for j := range width {
			rows[i][j] = math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*(i*width+j):]))
		}
	}
	return rows
}
