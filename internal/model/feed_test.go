package model

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// feedModel has steps of at most four tokens.
func feedModel(t *testing.T, b *recorder) *Model {
	t.Helper()
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), b, Options{MaxTokens: 4})
	require.NoError(t, err)
	return m
}

// steps counts the steps of which the backend was told.
func (r *recorder) steps() (n int) {
	for _, call := range r.calls {
		if strings.HasPrefix(call, "Embed") {
			n++
		}
	}
	return n
}

func TestFeedInSteps(t *testing.T) {
	b := &recorder{}
	m := feedModel(t, b)
	cache := m.NewCache()
	in := Input{IDs: []int32{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}, Cache: cache}
	var fed [][2]int
	in.Progress = func(n, total int) { fed = append(fed, [2]int{n, total}) }

	out := &Output{}
	cached, err := m.Feed(context.Background(), in, out)
	require.NoError(t, err)
	require.Zero(t, cached)
	require.Equal(t, 10, cache.Len())
	require.Equal(t, [][2]int{{4, 10}, {8, 10}, {10, 10}}, fed)
	require.Len(t, out.Logits, m.Config.VocabSize, "of the last token alone")

	// What the cache holds is not computed again, but for the last token.
	in.IDs, fed = append(in.IDs, 3, 3), nil
	cached, err = m.Feed(context.Background(), in, nil)
	require.NoError(t, err)
	require.Equal(t, 10, cached)
	require.Equal(t, [][2]int{{2, 2}}, fed)
	cached, err = m.Feed(context.Background(), in, out)
	require.NoError(t, err)
	require.Equal(t, 11, cached)
	require.Equal(t, 5, b.steps())

	// Where every token is asked for, the rows of all steps come back.
	cache.Reset()
	out.AllLogits, out.AllHidden = true, true
	_, err = m.Feed(context.Background(), in, out)
	require.NoError(t, err)
	require.Len(t, out.Logits, 12*m.Config.VocabSize)
	require.Len(t, out.Hidden, 12*m.Config.HiddenSize)
	cache.Reset()
	out.Greedy = true
	_, err = m.Feed(context.Background(), in, out)
	require.NoError(t, err)
	require.Len(t, out.Next, 12)
}

func TestFeedStopsAtEnd(t *testing.T) {
	m := feedModel(t, &recorder{})
	cache := m.NewCache()
	in := Input{IDs: make([]int32, 200), Cache: cache, End: 6}
	for _, c := range []struct{ end, cached int }{{6, 0}, {9, 6}, {9, 8}, {3, 2}} {
		in.End = c.end
		cached, err := m.Feed(context.Background(), in, nil)
		require.NoError(t, err)
		require.Equal(t, c.cached, cached)
		require.Equal(t, c.end, cache.Len())
		require.Len(t, cache.Blocks(), 2, "there is room for the whole text")
	}
}

func TestFeedLeavesTheCacheAsItWas(t *testing.T) {
	b := &recorder{}
	m := feedModel(t, b)
	cache := m.NewCache()
	in := Input{IDs: []int32{0, 1, 2}, Cache: cache}
	_, err := m.Feed(context.Background(), in, nil)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	in.IDs = make([]int32, 150)
	in.Progress = func(fed, _ int) {
		if fed > 130 {
			cancel()
		}
	}
	cached, err := m.Feed(ctx, in, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, cached)
	require.Equal(t, 3, cache.Len())
	require.Len(t, cache.Blocks(), 1)

	in.IDs[5] = 99
	in.Progress = nil
	_, err = m.Feed(context.Background(), in, nil)
	require.ErrorContains(t, err, "token id 99")
	require.Equal(t, 3, cache.Len())
	in.IDs[5] = 0
	b.fail = errors.New("the device is on fire")
	_, err = m.Feed(context.Background(), in, &Output{})
	require.ErrorIs(t, err, b.fail)
	require.Equal(t, 3, cache.Len())

	_, err = m.Feed(context.Background(), Input{Cache: cache}, nil)
	require.EqualError(t, err, "the text has no tokens")
	in.IDs = make([]int32, 2*m.Context)
	_, err = m.Feed(context.Background(), in, nil)
	require.EqualError(t, err, "the sequence has 600 tokens, the context holds 300")
	require.Equal(t, 3, cache.Len())
}
