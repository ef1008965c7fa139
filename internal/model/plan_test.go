package model

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/kvcache"
)

// The context is the longest of whole blocks that fits beside the margin, found here by trying all.
func TestFitIsTheMostBlocks(t *testing.T) {
	const gb = 1_000_000_000
	need := func(blocks int) Memory { // a workspace that grows in steps
		n := int64(blocks)
		return Memory{Weights: 7 * gb, KV: n * 50_331_648, Workspace: 300_000_000 + n/10*2_000_000}
	}
	seen := map[int]bool{}
	for _, positions := range []int{100, 128, 2048, 2049, 4096, 131_072} {
		for free := int64(0); free < 80*gb; free += 97_654_321 {
			p := NewPlan(&Config{MaxPositions: positions}, nil, Options{MaxTokens: 4096})
			p.Fit(free, need)
			want, fitIn := min(positions, 2048), free
			for blocks := 17; blocks <= kvcache.BlocksFor(positions); blocks++ {
				if need(blocks).Total()+min(free/16, 512<<20) <= free {
					want = min(blocks*kvcache.BlockTokens, positions)
				}
			}
			if want == positions {
				fitIn = 0
			}
			require.Equal(t, want, p.Context, "%d bytes, %d positions", free, positions)
			require.Equal(t, fitIn, p.FitIn)
			require.Equal(t, min(4096, want), p.MaxTokens)
			seen[want] = true
		}
	}
	require.Greater(t, len(seen), 500, "contexts")
}

// A length that the user asks for is not the backend's to change.
func TestFitKeepsWhatWasAskedFor(t *testing.T) {
	for _, asked := range []int{1, 128, 5000, 1 << 20} {
		p := NewPlan(&Config{MaxPositions: 131_072}, nil, Options{Context: asked})
		p.Fit(0, func(blocks int) Memory { return Memory{KV: int64(blocks)} })
		require.Equal(t, asked, p.Context)
		require.Zero(t, p.FitIn)
	}
}

// The model has the context that the backend found room for.
func TestLoadTakesTheContextThatFits(t *testing.T) {
	config := strings.Replace(tinyConfig, "300", "10000", 1)
	load := func(o Options) *Model {
		need := func(blocks int) Memory { return Memory{KV: int64(blocks)} }
		b := &recorder{fit: func(p *Plan) { p.Fit(30, need) }}
		m, err := Load(context.Background(), tinyCheckpoint(t, config, nil), b, o)
		require.NoError(t, err)
		return m
	}
	m := load(Options{})
	require.Equal(t, 29*128, m.Context)
	require.Equal(t, int64(30), m.FitIn)
	_, err := m.NewCache().Prepare(29 * 128)
	require.NoError(t, err)
	_, err = m.NewCache().Prepare(1)
	require.EqualError(t, err, "KV cache is full: all 3712 tokens of it are in use")

	m = load(Options{Context: 9000})
	require.Equal(t, 9000, m.Context)
	require.Zero(t, m.FitIn)
}
