//go:build !race

package perplexity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// realModel is the checkpoint of make real-model.
const (
	realModel  = "../../.cache/real-model"
	realSHA256 = "8983fb6d3932fc013e0b8d9a7c7a4dfcd0fe5696813b4e62e054b63b7e1bc708" // of model.safetensors
)

// realGolden is what transformers computes with it (testdata/make_real.py).
type realGolden struct {
	Window, Stride int
	IDs            []int32
	Perplexity     float64 // float32
	BF16           struct {
		Perplexity float64
		KL         float64 // from the float32 run
		SameTop    float64 `json:"same_top"`
	}
	Greedy []struct {
		Prompt string
		IDs    []int32
		Greedy []int32 // float32
		Text   string
	}
}

// On real language, the results are near those of transformers: texts, perplexity, and what quantizing loses.
func TestRealModel(t *testing.T) {
	file, err := os.Open(realModel + "/model.safetensors")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no " + realModel + ": make real-model makes it")
	}
	require.NoError(t, err)
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Equal(t, realSHA256, hex.EncodeToString(sum.Sum(nil)), "cmd/real-model makes other weights")

	data, err := os.ReadFile("testdata/real.json")
	require.NoError(t, err)
	var golden realGolden
	require.NoError(t, json.Unmarshal(data, &golden))
	exact := loadReal(t, true, nil)
	t.Run("ids", func(t *testing.T) { realIDs(t, &golden) })
	t.Run("greedy", func(t *testing.T) { realGreedy(t, exact, &golden) })
	o := Options{Window: golden.Window, Stride: golden.Stride}
	bf16 := loadReal(t, false, nil)
	t.Run("perplexity", func(t *testing.T) {
		r, err := Measure(context.Background(), bf16, exact, golden.IDs, o)
		require.NoError(t, err)
		t.Logf("bfloat16: perplexity %.4f, KL %v, same %v; float32: perplexity %.5f", r.Perplexity.Value,
			r.Against.KL, r.Against.SameTop, r.Against.Perplexity.Value)
		require.InEpsilon(t, golden.Perplexity, r.Against.Perplexity.Value, 1e-4)
		require.InEpsilon(t, golden.Perplexity, r.Perplexity.Value, 2e-3)
		require.Less(t, r.Against.KL.Value, golden.BF16.KL, "transformers' bfloat16 run is nearer to float32")
		require.Greater(t, r.Against.SameTop.Value, 0.97)
	})
	// The largest mean KL divergence from bfloat16: 1.3 times what was measured.
	for _, c := range []struct {
		weights string
		kl      float64
	}{{"q8_0", 0.0028}, {"q6_k", 0.0094}, {"q4_k", 0.098}, {"q4_0", 0.41}} {
		t.Run(c.weights, func(t *testing.T) {
			recipe, err := quantize.Parse(c.weights)
			require.NoError(t, err)
			m := loadReal(t, false, &recipe)
			r, err := Measure(context.Background(), m, bf16, golden.IDs[:golden.Window], o)
			require.NoError(t, err)
			t.Logf("%s: KL %v, same %v", c.weights, r.Against.KL, r.Against.SameTop)
			require.Less(t, r.Against.KL.Value, c.kl)
			require.Positive(t, r.Against.KL.Value, "nothing was quantized")
		})
	}
}

func loadReal(t *testing.T, float32 bool, weights *quantize.Recipe) *model.Model {
	t.Helper()
	b, err := cpu.New(cpu.Options{Float32: float32})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), os.DirFS(realModel), b, model.Options{
		Context: 512, MaxTokens: b.MaxTokens(), Weights: weights,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func realIDs(t *testing.T, golden *realGolden) {
	tok, err := tokenizer.Load(os.DirFS(realModel))
	require.NoError(t, err)
	codec := &text.Codec{Tokenizer: tok}
	opticks, err := os.ReadFile("testdata/opticks.txt")
	require.NoError(t, err)
	ids, err := codec.Encode(context.Background(), codec.Plain(string(opticks)), 0)
	require.NoError(t, err)
	require.Equal(t, golden.IDs, ids)
	for _, g := range golden.Greedy {
		ids, err := codec.Encode(context.Background(), codec.Plain(g.Prompt), 0)
		require.NoError(t, err)
		require.Equal(t, g.IDs, ids, g.Prompt)
	}
}

func realGreedy(t *testing.T, m *model.Model, golden *realGolden) {
	for _, g := range golden.Greedy {
		session := generate.NewSession(m, false)
		session.Append(g.IDs...)
		var got []int32
		for range g.Greedy {
			id, err := session.Next(context.Background())
			require.NoError(t, err)
			got = append(got, id)
			session.Append(id)
		}
		session.Close()
		require.Equal(t, g.Greedy, got, "%s|%s", g.Prompt, g.Text)
	}
}
