package generate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/model"
	"phi3/internal/safetensors"
)

var prompt = []int32{5, 77, 300, 12, 9}

// open loads testdata/mini, with room for context tokens.
func open(t *testing.T, fsys fs.FS, context int) *model.Model {
	t.Helper()
	m, err := model.Load(fsys, cpu.New(cpu.Options{Threads: 2}), model.Options{Context: context})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

var mini = os.DirFS("../../testdata/mini")

func TestRunStops(t *testing.T) {
	m := open(t, mini, 0)
	ctx := context.Background()
	free, err := Run(ctx, m, prompt, Options{MaxNewTokens: 10})
	require.NoError(t, err)
	require.Len(t, free.IDs, 10)
	require.Equal(t, FinishLength, free.Finish)
	require.Len(t, free.Steps, 9)
	require.Positive(t, free.Prefill)

	for _, n := range []int{0, 1} {
		r, err := Run(ctx, m, prompt, Options{MaxNewTokens: n})
		require.NoError(t, err)
		require.Len(t, r.IDs, n)
		require.Empty(t, r.Steps)
	}

	// Any id of the list ends the text and is part of it. Ids of the prompt end nothing.
	at := slices.IndexFunc(free.IDs, func(id int32) bool { return id != free.IDs[0] })
	require.Positive(t, at)
	r, err := Run(ctx, m, prompt, Options{MaxNewTokens: 10, Stop: []int32{prompt[1], free.IDs[at], 1}})
	require.NoError(t, err)
	require.Equal(t, free.IDs[:at+1], r.IDs)
	require.Equal(t, FinishStop, r.Finish)
}

func TestRunEndsWithTheContext(t *testing.T) {
	m := open(t, mini, len(prompt)+3)
	r, err := Run(context.Background(), m, prompt, Options{MaxNewTokens: 100})
	require.NoError(t, err)
	require.Equal(t, FinishContext, r.Finish)
	require.Len(t, r.IDs, 4, "three that fit the context, and the one that follows a full context")

	_, err = Run(context.Background(), m, make([]int32, len(prompt)+4), Options{MaxNewTokens: 1})
	require.EqualError(t, err, "the prompt has 9 tokens, the context holds 8")
	_, err = Run(context.Background(), m, nil, Options{MaxNewTokens: 1})
	require.ErrorContains(t, err, "empty")
}

func TestRunHandsOverTokensAsTheyCome(t *testing.T) {
	m := open(t, mini, 0)
	var seen []int32
	ctx, cancel := context.WithCancel(context.Background())
	r, err := Run(ctx, m, prompt, Options{MaxNewTokens: 10, OnToken: func(id int32, logits []float32) error {
		require.Len(t, logits, m.Config.VocabSize)
		seen = append(seen, id)
		if len(seen) == 3 {
			cancel() // as Ctrl-C does
		}
		return nil
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, r.IDs, 3, "what was generated is not lost")
	require.Equal(t, r.IDs, seen)

	full := errors.New("the disk is full")
	r, err = Run(context.Background(), m, prompt, Options{MaxNewTokens: 10, OnToken: func(int32, []float32) error { return full }})
	require.ErrorIs(t, err, full)
	require.Len(t, r.IDs, 1)
}

func TestSessionRepeatsItself(t *testing.T) {
	m := open(t, mini, 0)
	s := NewSession(m, false)
	defer s.Close()
	s.Append(prompt...)
	first, err := s.Logits(context.Background())
	require.NoError(t, err)
	want := slices.Clone(first)
	again, err := s.Logits(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, again)

	logits, hidden, err := s.Inspect(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, logits)
	require.Len(t, hidden, len(prompt)*m.Config.HiddenSize)
	again, err = s.Logits(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, again, "looking changes nothing")
}

// Inspect must see every token, also where the sequence takes several steps and crosses into the long RoPE factors.
func TestInspectInSteps(t *testing.T) {
	ids := make([]int32, 50)
	for i := range ids {
		ids[i] = int32(i * 3)
	}
	var want []float32
	for _, maxTokens := range []int{64, 16} {
		m, err := model.Load(os.DirFS("../../testdata/longrope"), cpu.New(cpu.Options{}), model.Options{MaxTokens: maxTokens})
		require.NoError(t, err)
		s := NewSession(m, false)
		s.Append(ids...)
		_, hidden, err := s.Inspect(context.Background())
		require.NoError(t, err)
		require.Len(t, hidden, len(ids)*m.Config.HiddenSize)
		if want == nil {
			want = hidden
		}
		require.Equal(t, want, hidden)
		require.NoError(t, m.Close())
	}
}

func TestSessionsGiveTheirBlocksBack(t *testing.T) {
	m := open(t, mini, 128) // one block
	for range 3 {
		_, err := Run(context.Background(), m, prompt, Options{MaxNewTokens: 3})
		require.NoError(t, err)
	}
}

// A checkpoint with one NaN must be called damaged, and not answer with token 0.
func TestDamagedWeights(t *testing.T) {
	c, err := model.ReadConfig(mini)
	require.NoError(t, err)
	config, err := fs.ReadFile(mini, "config.json")
	require.NoError(t, err)
	var sources []safetensors.Source
	for _, spec := range c.Tensors() {
		n := 4
		for _, d := range spec.Shape {
			n *= d
		}
		sources = append(sources, safetensors.Source{Name: spec.Name, DType: safetensors.F32, Shape: spec.Shape, WriteTo: func(w io.Writer) error {
			data := make([]byte, n)
			if spec.Name == "model.norm.weight" {
				binary.LittleEndian.PutUint32(data, math.Float32bits(float32(math.NaN())))
			}
			_, err := w.Write(data)
			return err
		}})
	}
	var file bytes.Buffer
	require.NoError(t, safetensors.Write(&file, sources, nil))
	m := open(t, fstest.MapFS{"config.json": {Data: config}, "model.safetensors": {Data: file.Bytes()}}, 0)
	_, err = Run(context.Background(), m, prompt, Options{MaxNewTokens: 1})
	require.EqualError(t, err, "the logit of token 0 after 5 tokens is NaN: the checkpoint's weights are damaged or overflow")
}
