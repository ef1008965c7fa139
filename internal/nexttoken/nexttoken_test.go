package nexttoken

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/model"
	"phi3/internal/tokenizer"
)

func loadTokenizer(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	return tok
}

func TestRank(t *testing.T) {
	logits := []float32{1, 3, 2, 3, -200}
	tok := loadTokenizer(t)
	ranking := Rank(logits)
	ranked := ranking.Candidates(tok, 100)
	var ids []int32
	var total, cumulative, entropy float64
	for _, l := range logits {
		total += math.Exp(float64(l))
	}
	for i, c := range ranked {
		ids = append(ids, c.ID)
		p := math.Exp(float64(logits[c.ID])) / total
		cumulative += p
		require.Equal(t, i+1, c.Rank)
		require.Equal(t, logits[c.ID], c.Logit)
		require.InDelta(t, p, c.Probability, 1e-12)
		require.InDelta(t, cumulative, c.Cumulative, 1e-12)
		entropy -= p * math.Log(p)
		alone := ranking.Candidate(tok, c.ID)
		require.InDelta(t, c.Cumulative, alone.Cumulative, 1e-12)
		alone.Cumulative = c.Cumulative
		require.Equal(t, c, alone)
	}
	require.Equal(t, ranked[:2], ranking.Candidates(tok, 2))
	require.InDelta(t, entropy, ranking.Entropy(), 1e-12)
	require.True(t, ranking.Finite())
	require.Equal(t, []int32{1, 3, 2, 0, 4}, ids, "equal logits in the order of their ids")
}

func TestRankNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range []float32{nan, inf, -inf} {
		for place := range 3 {
			logits := []float32{1, -300, 2}
			logits[place] = bad
			ranking := Rank(logits)
			require.False(t, ranking.Finite(), logits)
		}
	}
	ranking := Rank([]float32{math.MaxFloat32, -math.MaxFloat32, 0})
	require.True(t, ranking.Finite())
	require.Zero(t, ranking.Entropy())
}

func TestEnds(t *testing.T) {
	require.Equal(t, "[ 1.0000, -0.5000,  0.0000, ..., 12.0000, -3.1416,  2.0000]",
		ends([]float32{1, -0.5, 0, 9, 12, -3.1415927, 2}))
	require.Equal(t, "[ 1.0000,  2.0000]", ends([]float32{1, 2}))
}

func TestThin(t *testing.T) {
	for _, c := range []struct {
		layers, every int
		first, shown  int // of the layers after the embeddings
	}{
		{4, 0, 1, 4},
		{24, 0, 1, 24},
		{32, 0, 2, 16},
		{40, 0, 2, 20},
		{80, 0, 4, 20},
		{41, 0, 2, 21},
		{1000, 0, 42, 24},
		{32, 1, 1, 32},
		{32, 5, 5, 7},
		{4, 100, 4, 1},
	} {
		layers := make([]Layer, c.layers+1)
		for i := range layers {
			layers[i].Layer = i
		}
		shown := Thin(layers, c.every)
		require.Equal(t, 0, shown[0].Layer)
		require.Equal(t, c.first, shown[1].Layer, c)
		require.Len(t, shown, 1+c.shown, c)
		require.Equal(t, c.layers, shown[len(shown)-1].Layer)
	}
}

// The layers' logits are looked at one at a time, after the answer is known. What the report says of the last
// layer is what it says of the answer.
func TestLayers(t *testing.T) {
	b, err := cpu.New(cpu.Options{})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), demo.FS(), b, model.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	tok := loadTokenizer(t)
	ids, err := tok.Encode(context.Background(), "The capital of Germany is", tokenizer.EncodeOptions{})
	require.NoError(t, err)
	r, err := New(context.Background(), m, tok, ids,
		Options{Top: 5, Tokens: []int32{7}, Layers: true, Layer: 2, Head: 1, Hidden: true})
	require.NoError(t, err)
	require.Len(t, r.Layers, 5)
	require.Equal(t, r.Top[:lensTop], r.Layers[4].Top, "the last layer is the answer")
	require.Equal(t, r.Argmax, r.Layers[4].Answer)
	require.Equal(t, int32(7), r.Tokens[0].ID)
	require.Len(t, r.Attention.Heads, 1)
	require.Len(t, r.Hidden, len(ids))

	// Hidden states are written row by row, and what is read is one object.
	var out bytes.Buffer
	require.NoError(t, r.WriteJSON(&out))
	var read Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &read))
	require.Equal(t, r, &read)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = New(ctx, m, tok, ids, Options{Top: 1, Layers: true})
	require.ErrorIs(t, err, context.Canceled)
}

func TestFind(t *testing.T) {
	tok := loadTokenizer(t)
	for text, want := range map[string]struct {
		piece  string
		spaced bool
	}{
		"Berlin": {"▁Berlin", false}, "▁Berlin": {"▁Berlin", false}, "<|end|>": {"<|end|>", false},
	} {
		ids, spaced, err := Find(context.Background(), tok, text)
		require.NoError(t, err)
		require.Len(t, ids, 1, text)
		require.Equal(t, want.piece, tok.Piece(ids[0]))
		require.Equal(t, want.spaced, spaced)
	}
	ids, _, err := Find(context.Background(), tok, "Berlin is")
	require.NoError(t, err)
	require.Len(t, ids, 2)
}
