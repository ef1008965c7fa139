package explore

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/nexttoken"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

func readAttention(t testing.TB, e *Explorer, r AttentionRequest) Attention {
	t.Helper()
	value, err := e.Attention(t.Context(), body(t, r))
	require.NoError(t, err)
	return value.(Attention)
}

// The weights of a position are those of phi3 next-token --attention for the text up to there.
func TestAttentionIsThatOfNextToken(t *testing.T) {
	for _, test := range []struct{ tokens, layer, from, first int }{
		{1, 1, 0, 0}, {20, 4, 0, 0}, {129, 2, 0, 1}, {300, 3, 0, 172}, {300, 1, 290, 290},
	} {
		ids := someIDs(test.tokens)
		var a Attention
		t.Run("attention", func(t *testing.T) {
			e := newExplorer(t, engine.Options{Parallel: 2})
			for range 2 { // the prefix cache has the text then
				a = readAttention(t, e, AttentionRequest{ids, test.layer, test.from})
			}
		})
		require.Equal(t, test.layer, a.Layer)
		require.Equal(t, test.first, a.From)
		require.Len(t, a.Heads, 2)
		shown := test.tokens - test.first
		whole := make([][][]float64, 2) // of each head, the weights of the positions over the whole text
		for p := range shown {
			if shown > 20 && p > 1 && p < shown-1 {
				continue
			}
			report := reportOf(t, newParser(t), ids[:test.first+p+1],
				nexttoken.Options{Top: 1, Layer: test.layer})
			for h, head := range report.Attention.Heads {
				require.Equal(t, head.Head, a.Heads[h].Head)
				require.Len(t, a.Heads[h].Weights, shown)
				require.Equal(t, head.Weights[test.first:], a.Heads[h].Weights[p])
				whole[h] = append(whole[h], head.Weights)
			}
		}
		for h, head := range a.Heads {
			require.Equal(t, head.Measures.label(), head.Label)
			if len(whole[h]) == shown {
				compareMeasures(t, ids, whole[h], head.Measures)
			}
		}
	}
}

// compareMeasures follows the definition of the measures, given the weights of the last positions of a text.
func compareMeasures(t *testing.T, ids []int32, weights [][]float64, got Measures) {
	t.Helper()
	var first, previous, itself, same, after, n, repeats float64
	for _, row := range weights {
		p := len(row) - 1
		if p == 0 {
			continue
		}
		n++
		first, previous, itself = first+row[0], previous+row[p-1], itself+row[p]
		if !slices.Contains(ids[:p], ids[p]) {
			continue
		}
		repeats++
		for k := range p {
			if ids[k] == ids[p] {
				same += row[k]
			}
			if k > 0 && ids[k-1] == ids[p] {
				after += row[k]
			}
		}
	}
	if n == 0 {
		require.Equal(t, Measures{}, got)
		return
	}
	require.InDelta(t, first/n, got.First, 1e-12)
	require.InDelta(t, previous/n, got.Previous, 1e-12)
	require.InDelta(t, itself/n, got.Itself, 1e-12)
	if repeats == 0 {
		require.Nil(t, got.Same)
		require.Nil(t, got.After)
		return
	}
	require.InDelta(t, same/repeats, *got.Same, 1e-12)
	require.InDelta(t, after/repeats, *got.After, 1e-12)
}

func TestMeasures(t *testing.T) {
	ids := []int32{7, 8, 7, 7, 9, 8}
	m := measuring{same: earlier(ids, 1), from: 1}
	for p, weights := range [][]float64{
		1: {0.5, 0.5},                      // 8
		2: {0.1, 0.2, 0.7},                 // 7: the same at 0, after that 1
		3: {0.25, 0.125, 0.5, 0.125},       // 7: the same at 0 and 2, after them 1, but not 3 itself
		4: {1, 0, 0, 0, 0},                 // 9
		5: {0, 0.5, 0.25, 0, 0.125, 0.125}, // 8: the same at 1, after that 2
	} {
		if p > 0 {
			m.add(p, weights)
		}
	}
	got := m.means()
	require.InDelta(t, (0.5+0.1+0.25+1+0)/5, got.First, 1e-15)
	require.InDelta(t, (0.5+0.2+0.5+0+0.125)/5, got.Previous, 1e-15)
	require.InDelta(t, (0.5+0.7+0.125+0+0.125)/5, got.Itself, 1e-15)
	require.InDelta(t, (0.1+0.75+0.5)/3, *got.Same, 1e-15)
	require.InDelta(t, (0.2+0.125+0.25)/3, *got.After, 1e-15)

	m = measuring{same: earlier([]int32{1, 2, 3}, 0)}
	m.add(0, []float64{1})
	require.Equal(t, Measures{}, m.means(), "position 0 has no choice")
	m.add(1, []float64{1, 0})
	require.Equal(t, Measures{First: 1, Previous: 1}, m.means())
}

func TestLabel(t *testing.T) {
	for want, m := range map[string]Measures{
		"":                 {First: 0.39, Previous: 0.2, Same: new(0.3), After: new(0.1)},
		"first":            {First: 0.4, Previous: 0.4},
		"previous":         {First: 0.4, Previous: 0.41, Itself: 0.41},
		"itself":           {Itself: 0.4},
		"same token":       {First: 0.5, Same: new(0.6), After: new(0.6)},
		"after same token": {First: 0.5, Same: new(0.5), After: new(0.6)},
	} {
		require.Equal(t, want, m.label())
	}
}

func TestAttentionCancelled(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := AttentionRequest{IDs: someIDs(40), Layer: 1}
	_, err := e.Attention(ctx, body(t, r))
	require.ErrorIs(t, err, context.Canceled)
	for _, head := range readAttention(t, e, r).Heads {
		for p, weights := range head.Weights {
			require.Len(t, weights, p+1)
			sum := 0.0
			for _, w := range weights {
				sum += w
			}
			require.InDelta(t, 1, sum, 1e-12)
		}
	}
	require.Zero(t, e.Engine.Stats().BlocksUsed)
}

// An end while other attentions are computed does not wait for them.
func TestAttentionWaiting(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	for range mostAttentions {
		e.attentions <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := AttentionRequest{IDs: someIDs(3), Layer: 1}
	_, err := e.Attention(ctx, body(t, r))
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, e.Engine.Stats().PromptTokens)
	<-e.attentions
	readAttention(t, e, r)
	require.Len(t, e.attentions, mostAttentions-1)
}

// The weights of the heads of a long text are computed one head after another.
func TestHeadsAtOnce(t *testing.T) {
	require.Equal(t, 256<<20/8, headsAtOnce(1, 1))
	require.Equal(t, 64, headsAtOnce(128, 4096))
	require.Equal(t, 2, headsAtOnce(128, 1<<17))
	require.Equal(t, 1, headsAtOnce(128, 1<<20))
	for _, most := range []int{1, 2, 100} {
		var running, peak, calls atomic.Int64
		parallel(20, most, func(int) {
			peak.Store(max(peak.Load(), running.Add(1)))
			calls.Add(1)
			running.Add(-1)
		})
		require.Equal(t, int64(20), calls.Load())
		require.LessOrEqual(t, peak.Load(), int64(most))
	}
}

// The attention of many heads is 10 MB of JSON.
func TestLargeAttention(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, randomckpt.Write(t.Context(), randomckpt.Options{
		Dir: dir, Format: weight.F32, Seed: 1, ShardBytes: 1 << 30,
		Config: []byte(`{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "vocab_size": 2560,
			"hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 64,
			"num_key_value_heads": 4, "eos_token_id": null, "bos_token_id": 1, "hidden_act": "silu",
			"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 400,
			"original_max_position_embeddings": 400}`),
	}))
	backend, err := cpu.New(cpu.Options{Threads: 2})
	require.NoError(t, err)
	m, err := model.Load(t.Context(), os.DirFS(dir), backend, model.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	e := newParser(t)
	e.Config, e.Context = &m.Config, m.Context
	e.Engine = engine.New(m, engine.Options{})
	defer e.Engine.Close()
	a := readAttention(t, e, AttentionRequest{IDs: someIDs(200), Layer: 1})
	require.Len(t, a.Heads, 64)
	data := body(t, a)
	require.Greater(t, len(data), 10_000_000)
	var read Attention
	require.NoError(t, json.Unmarshal(data, &read))
	require.Equal(t, a, read, "no digit is lost")
}
