package model

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForwardIsTheArchitecture(t *testing.T) {
	b := &recorder{}
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), b, Options{})
	require.NoError(t, err)
	cache := m.NewCache()
	_, err = cache.Prepare(3)
	require.NoError(t, err)
	out := &Output{AllHidden: true}
	require.NoError(t, m.Forward(context.Background(), []Sequence{{IDs: []int32{1, 2, 4}, Cache: cache}},
		out))
	require.Equal(t, []string{
		"Begin", "Embed",
		"NormLinear model.layers.0.self_attn.qkv_proj.weight", "Attend 0", "LinearAdd " +
			"model.layers.0.self_attn.o_proj.weight",
		"NormGateUp model.layers.0.mlp.gate_up_proj.weight", "LinearAdd model.layers.0.mlp.down_proj.weight",
		"NormLinear model.layers.1.self_attn.qkv_proj.weight", "Attend 1", "LinearAdd " +
			"model.layers.1.self_attn.o_proj.weight",
		"NormGateUp model.layers.1.mlp.gate_up_proj.weight", "LinearAdd model.layers.1.mlp.down_proj.weight",
		"Select", "Norm model.norm.weight", "Select", "NormLinear lm_head.weight",
	}, b.calls)
	require.Len(t, out.Logits, 5)
	require.Len(t, out.Hidden, 3*4)
	require.Equal(t, 3, cache.Len())
	require.NoError(t, m.Close())
}

// A greedy pass ends in Argmax, LogitRows rows at a time, and reads no logits.
func TestForwardGreedy(t *testing.T) {
	b := &recorder{}
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), b, Options{})
	require.NoError(t, err)
	cache := m.NewCache()
	_, err = cache.Prepare(leastLogitRows + 2)
	require.NoError(t, err)
	out := &Output{Greedy: true, AllLogits: true}
	ids := slices.Repeat([]int32{1}, leastLogitRows+1)
	require.NoError(t, m.Forward(context.Background(), []Sequence{{IDs: ids, Cache: cache}}, out))
	require.Equal(t, []string{
		"Select", "NormLinear lm_head.weight", "Argmax", "Select",
		"NormLinear lm_head.weight", "Argmax",
	}, b.calls[len(b.calls)-6:])
	require.Len(t, out.Next, leastLogitRows+1)
	require.Empty(t, out.Logits)

	out.AllLogits = false
	require.NoError(t, m.Forward(context.Background(), []Sequence{{IDs: ids[:1], Cache: cache}}, out))
	require.Len(t, out.Next, 1)
}

func TestForwardRefusesBadSteps(t *testing.T) {
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), &recorder{},
		Options{MaxTokens: 4})
	require.NoError(t, err)
	cache := m.NewCache()
	_, err = cache.Prepare(6)
	require.NoError(t, err)
	for _, c := range []struct {
		ids    []int32
		reason string
	}{
		{nil, "no new tokens"},
		{[]int32{1, 5}, "token id 5 is not in the model's vocabulary of 5"},
		{[]int32{-1}, "token id -1"},
		{[]int32{1, 1, 1, 1, 1}, "5 new tokens, not 1 … 4"},
		{slices.Repeat([]int32{1}, 129), "not prepared for 129 tokens"},
	} {
		err := m.Forward(context.Background(), []Sequence{{IDs: c.ids, Cache: cache}}, nil)
		require.ErrorContains(t, err, c.reason)
		require.Zero(t, cache.Len())
	}
	require.ErrorContains(t, m.Forward(context.Background(), nil, nil), "0 new tokens")
}

func TestForwardStopsBetweenLayers(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := &recorder{cancel: func(call string) {
		if call == "Attend 0" {
			cancel()
		}
	}}
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), b, Options{})
	require.NoError(t, err)
	cache := m.NewCache()
	_, err = cache.Prepare(1)
	require.NoError(t, err)
	err = m.Forward(ctx, []Sequence{{IDs: []int32{1}, Cache: cache}}, &Output{})
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, b.calls, "Attend 1")
	require.Zero(t, cache.Len(), "the cache is as it was")
}

func TestForwardReportsTheDevice(t *testing.T) {
	b := &recorder{fail: errors.New("the device is on fire")}
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), b, Options{})
	require.NoError(t, err)
	cache := m.NewCache()
	_, err = cache.Prepare(1)
	require.NoError(t, err)
	for _, out := range []*Output{
		nil,
		{},
		{Greedy: true},
		{AllHidden: true},
	} {
		require.ErrorIs(t, m.Forward(context.Background(), []Sequence{{IDs: []int32{1}, Cache: cache}}, out),
			b.fail)
		require.Zero(t, cache.Len())
	}
}

func TestWideWindow(t *testing.T) {
	for window, want := range map[string]int{"7": 8, "null": 0} {
		config := strings.Replace(tinyConfig, "{", `{"sliding_window": `+window+`, `, 1)
		m, err := Load(context.Background(), tinyCheckpoint(t, config, nil), &recorder{},
			Options{WideWindow: true})
		require.NoError(t, err)
		require.Equal(t, want, m.Config.SlidingWindow)
	}
}

func TestDecodeBytes(t *testing.T) {
	for _, tied := range []bool{false, true} {
		config := tinyConfig
		if tied {
			config = strings.Replace(config, "{", `{"tie_word_embeddings": true, "sliding_window": 7, `, 1)
		}
		m, err := Load(context.Background(), tinyCheckpoint(t, config, nil), &recorder{}, Options{})
		require.NoError(t, err)
		table := int64(5 * 4 * 2)
		kv := int64(2 * 2 * 1 * 2 * 2) // K and V, layers, kv heads, head dimension, bytes
		if tied {
			require.Equal(t, m.WeightTotal().Bytes+7*kv, m.DecodeBytes(10, 2),
				"the table is the head, and the window hides old keys")
		} else {
			require.Equal(t, m.WeightTotal().Bytes-table+table/5+10*kv, m.DecodeBytes(10, 2))
		}
	}
}

func TestPrefillFlops(t *testing.T) {
	for _, window := range []int{0, 2} {
		config := tinyConfig
		if window > 0 {
			config = strings.Replace(config, "{", `{"sliding_window": 2, `, 1)
		}
		m, err := Load(context.Background(), tinyCheckpoint(t, config, nil), &recorder{}, Options{})
		require.NoError(t, err)
		c := m.Config
		weights := 0 // of matrices, by the table that they are loaded from
		for _, w := range m.weights.table(&c) {
			if len(w.shape) == 2 && !strings.Contains(w.name, "embed") &&
				!strings.Contains(w.name, "lm_head") {
				weights += w.shape[0] * w.shape[1]
			}
		}
		seen := map[int]int{0: 1 + 2 + 3 + 4, 2: 1 + 2 + 2 + 2}[window]
		want := 2*4*weights + 2*c.VocabSize*c.HiddenSize + 2*2*seen*c.Heads*c.HeadDim*c.Layers
		require.InDelta(t, want, m.PrefillFlops(4), 0)
	}
}

// The sequences of a step want different results. Their rows go through the head together, and each result is
// that of its own sequence.
func TestForwardWants(t *testing.T) {
	b := &recorder{}
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), b, Options{Sequences: 20})
	require.NoError(t, err)
	batch := func(wants ...Want) (batch []Sequence) {
		for _, w := range wants {
			cache := m.NewCache()
			_, err := cache.Prepare(2)
			require.NoError(t, err)
			batch = append(batch, Sequence{IDs: []int32{1, 2}, Cache: cache, Want: w})
		}
		return batch
	}
	forward := func(out *Output, wants ...Want) (rows []int32, calls []string) {
		seqs := batch(wants...)
		require.NoError(t, m.Forward(context.Background(), seqs, out))
		calls = b.calls[slices.Index(b.calls, "LinearAdd model.layers.1.mlp.down_proj.weight")+1:]
		b.calls = nil
		for _, s := range seqs {
			s.Cache.Reset()
		}
		return slices.Clone(m.rows), calls
	}
	out := &Output{}
	rows, calls := forward(out, WantNext, WantLogits, WantNothing, WantAllLogits, WantNext, WantOutput)
	require.Equal(t, []int32{3, 6, 7, 11, 1, 9}, rows)
	require.Equal(t, []string{"Select", "NormLinear lm_head.weight", "Argmax"}, calls)
	require.Len(t, out.Logits, 4*5)
	require.Equal(t, []int32{4, 5}, out.Next)

	_, calls = forward(out, WantNothing, WantNothing)
	require.Empty(t, calls)
	require.Empty(t, out.Logits)
	require.Empty(t, out.Next)

	rows, _ = forward(&Output{Greedy: true, AllLogits: true}, WantOutput, WantLogits)
	require.Equal(t, []int32{3, 0, 1}, rows)

	// More rows than one product of the head takes: 20 for 20 sequences.
	wants := append(slices.Repeat([]Want{WantLogits}, 15), slices.Repeat([]Want{WantNext}, 8)...)
	_, calls = forward(out, wants...)
	require.Equal(t, []string{
		"Select", "NormLinear lm_head.weight", "Argmax", "Select", "NormLinear lm_head.weight", "Argmax",
	}, calls)
	require.Equal(t, []int32{15, 16, 17, 18, 19, 0, 1, 2}, out.Next)
}
