package classify

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// What comes out is compared with transformers in internal/backendtest, on every backend; here is what
// does not depend on one.

func open(t *testing.T, dir string, change func(fstest.MapFS), o model.Options) *model.Model {
	t.Helper()
	fsys := fstest.MapFS{}
	for _, name := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile("../../testdata/" + dir + "/" + name)
		require.NoError(t, err)
		fsys[name] = &fstest.MapFile{Data: data}
	}
	if change != nil {
		change(fsys)
	}
	b, err := cpu.New(cpu.Options{Threads: 2})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), fsys, b, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// The steps in which a text is fed change no bit, and padding changes the label's logits only where it
// changes the RoPE factors.
func TestLogitsDoNotDependOnSteps(t *testing.T) {
	for _, dir := range []string{"sequence", "tokens"} {
		var want [][]float32
		for _, step := range []int{64, 1, 3, 7, 16, 17} {
			m := open(t, dir, nil, model.Options{MaxTokens: step})
			ids := []int32{5, 77, 300, 12, 9, 2500, 8, 44, 1000, 31, 7, 6, 5, 4, 3}
			rows, err := Logits(context.Background(), m, ids)
			require.NoError(t, err)
			if want == nil {
				want = rows
			}
			require.Equal(t, want, rows, "%s in steps of %d", dir, step)
			if dir == "tokens" {
				require.Len(t, rows, len(ids))
				continue
			}
			require.Len(t, rows, 1)
			padded, err := Logits(context.Background(), m, append(ids, 2500))
			require.NoError(t, err)
			require.Equal(t, want, padded, "16 tokens use the short factors")
			padded, err = Logits(context.Background(), m, append(ids, 2500, 2500))
			require.NoError(t, err)
			require.NotEqual(t, want, padded, "17 the long ones")
		}
	}
}

func TestLogitsRefusals(t *testing.T) {
	m := open(t, "sequence", nil, model.Options{Context: 4})
	_, err := Logits(context.Background(), m, nil)
	require.EqualError(t, err, "the text is empty")
	_, err = Logits(context.Background(), m, []int32{1, 2, 3, 4, 5})
	require.EqualError(t, err, "the text has 5 tokens, the context holds 4")
	_, err = Logits(context.Background(), m, []int32{2560})
	require.ErrorContains(t, err, "token id 2560 is not in the model's vocabulary")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Logits(ctx, m, []int32{1})
	require.ErrorIs(t, err, context.Canceled)

	_, err = Logits(context.Background(), open(t, "f32", nil, model.Options{}), []int32{1})
	require.EqualError(t, err, "a Phi3ForCausalLM has no labels")

	// A weight that is NaN.
	broken := open(t, "sequence", func(fsys fstest.MapFS) {
		f, err := safetensors.ReadFile(fsys, "model.safetensors")
		require.NoError(t, err)
		score, ok := f.Tensor("score.weight")
		require.True(t, ok)
		row := score.Data[len(score.Data)/3 : len(score.Data)/3+16]
		data := fsys["model.safetensors"].Data
		at := bytes.Index(data, row)
		require.NoError(t, f.Close())
		binary.LittleEndian.PutUint16(data[at:], 0x7fc0)
	}, model.Options{})
	_, err = Logits(context.Background(), broken, []int32{1})
	require.EqualError(t, err, `the logit of label "neutral" is NaN or infinite: the checkpoint is damaged: `+
		`model.safetensors: tensor "score.weight" is NaN or infinite at [1 0]`)
}

func TestScores(t *testing.T) {
	two := []float32{1, -1}
	softmax := math.E / (math.E + 1/math.E)
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		head    model.Head
		problem string
		logits  []float32
		want    []float64
	}{
		{model.SequenceHead, "", two, []float64{softmax, 1 - softmax}},
		{model.SequenceHead, "single_label_classification", two, []float64{softmax, 1 - softmax}},
		{model.SequenceHead, "multi_label_classification", two, []float64{sigmoid(1), sigmoid(-1)}},
		{model.SequenceHead, "regression", two, []float64{1, -1}},
		{model.SequenceHead, "", []float32{2}, []float64{sigmoid(2)}},
		// as the pipeline decides: one label comes first
		{model.SequenceHead, "single_label_classification", []float32{2}, []float64{sigmoid(2)}},
		{model.SequenceHead, "regression", []float32{2}, []float64{2}},
		// the token pipeline knows no problem types
		{model.TokenHead, "regression", two, []float64{softmax, 1 - softmax}},
		{model.TokenHead, "", []float32{2}, []float64{1}},
		{model.SequenceHead, "", []float32{1e30, -1e30}, []float64{1, 0}},
	} {
		got := Scores(&model.Config{Head: c.head, ProblemType: c.problem}, c.logits)
		require.InDeltaSlice(t, c.want, got, 1e-12, "%v", c)
	}
}
