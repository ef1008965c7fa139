package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/sampling"
)

// The same seed gives the same ids: with the cache and without, however the prompt is cut, on any number of
// threads. Another gives others.
func TestSeed(t *testing.T) {
	config := sampling.Defaults()
	config.DoSample, config.TopK, config.TopP, config.RepetitionPenalty = true, 0, 0.95, 1.05
	generated := func(maxTokens, threads int, noCache bool, seed uint64) []int32 {
		m, _ := openOn(t, mini, threads, model.Options{Context: 256, MaxTokens: maxTokens})
		r, err := Run(context.Background(), m, Request{
			IDs: long(130), MaxNewTokens: 12, Sampler: sampling.New(config, seed), NoCache: noCache,
		})
		require.NoError(t, err)
		return r.IDs
	}
	want := generated(64, 2, false, 3)
	require.Len(t, want, 12)
	require.Equal(t, want, generated(64, 2, true, 3))
	require.Equal(t, want, generated(7, 1, false, 3))
	require.Equal(t, want, generated(256, 3, false, 3))
	require.NotEqual(t, want, generated(64, 2, false, 4))
}
