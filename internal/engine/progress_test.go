package engine

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/sampling"
)

// Progress of a prompt that takes several steps.
func TestProgress(t *testing.T) {
	m, _ := openOn(t, mini, 0, model.Options{Context: 256, MaxTokens: 50})
	for _, logProbs := range []bool{false, true} {
		var fed [][2]int
		_, err := Run(context.Background(), m, Request{
			IDs: long(130), MaxNewTokens: 3, LogProbs: logProbs,
			Progress: func(n, of int) { fed = append(fed, [2]int{n, of}) },
		})
		require.NoError(t, err)
		require.Equal(t, [][2]int{{50, 130}, {100, 130}, {130, 130}}, fed)
	}
}

// Several texts from one prompt, one after another: all but the first begin with its blocks. That costs one
// token and no prefill, and changes nothing.
func TestPromptAgain(t *testing.T) {
	// longrope: the prompt uses the short factors, and the end of the text the long ones, which costs the
	// cache
	for _, checkpoint := range []string{"mini", "longrope"} {
		files := os.DirFS("../../testdata/" + checkpoint)
		m, _ := openOn(t, files, 2, model.Options{})
		alone, _ := openOn(t, files, 2, model.Options{})
		config := sampling.Defaults()
		config.DoSample = true
		e := New(m, Options{})
		defer e.Close()
		for seed := range uint64(3) {
			var fed [][2]int
			request := func() Request {
				return Request{IDs: long(30), MaxNewTokens: 8, Sampler: sampling.New(config, seed)}
			}
			r := request()
			r.Progress = func(n, of int) { fed = append(fed, [2]int{n, of}) }
			var got Result
			for token, err := range e.Generate(context.Background(), r) {
				require.NoError(t, err)
				got.Add(token)
			}
			want, err := Run(context.Background(), alone, request())
			require.NoError(t, err)
			require.Equal(t, want.IDs, got.IDs, "seed %d", seed)
			switch {
			case checkpoint == "longrope":
				require.Zero(t, got.Cached)
				require.Equal(t, [][2]int{{30, 30}, {33, 33}}, fed,
					"the second time, all tokens are computed again with the long factors")
			case seed == 0:
				require.Zero(t, got.Cached)
				require.Equal(t, [][2]int{{30, 30}}, fed)
			default:
				require.Equal(t, 29, got.Cached)
				require.Empty(t, fed)
			}
		}
	}
}
