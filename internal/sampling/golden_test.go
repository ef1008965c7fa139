package sampling

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// golden is testdata/golden.json, which its script describes.
type golden struct {
	EOS    []int32
	Logits []json.RawMessage
	Cases  []struct {
		Config json.RawMessage
		Logits int
		IDs    []int32
		Prompt int
		Kept   []int32
		Scores []float32
	}
}

func (g *golden) row(t *testing.T, n int) (logits []float32) {
	var formula struct{ Size uint32 }
	if json.Unmarshal(g.Logits[n], &formula) != nil {
		require.NoError(t, json.Unmarshal(g.Logits[n], &logits))
	}
	for i := range formula.Size {
		logits = append(logits, float32(i*2654435761>>12)*0x1p-16)
	}
	return logits
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	require.Greater(t, len(g.Cases), 100)
	return g
}

// Every processor, and all together, leave the tokens that Hugging Face's leave, with the same scores to the
// last bit.
func TestGolden(t *testing.T) {
	race.SkipAlone(t)
	g := readGolden(t)
	for _, c := range g.Cases {
		t.Run(fmt.Sprintf("%d/%s", c.Logits, c.Config), func(t *testing.T) {
			config := Defaults()
			require.NoError(t, json.Unmarshal(c.Config, &config))
			config.EOS = g.EOS
			var more struct {
				DoSample  bool `json:"do_sample"`
				MaxLength int  `json:"max_length"`
			}
			require.NoError(t, json.Unmarshal(c.Config, &more))
			config.DoSample, config.MaxNewTokens = more.DoSample, more.MaxLength-c.Prompt
			require.NoError(t, config.Check())
			require.Equal(t, string(c.Config) == "{}", config.Neutral())

			s := New(config, 0)
			s.chosen = len(c.IDs) - c.Prompt
			logits := g.row(t, c.Logits)
			before := slices.Clone(logits)
			id, err := s.Sample(logits, c.IDs)
			require.NoError(t, err)
			require.Equal(t, before, logits, "the logits are the caller's")

			var kept []int32
			var scores []float32
			if config.DoSample {
				for _, k := range s.kept {
					kept = append(kept, k.id)
					scores = append(scores, k.score)
				}
				require.Contains(t, kept, id)
			} else {
				for id, score := range s.scores {
					if score != ruledOut {
						kept = append(kept, int32(id))
						scores = append(scores, score)
					}
				}
				require.Equal(t, c.Kept[Greedy(c.Scores)], id)
			}
			require.Equal(t, slices.Sorted(slices.Values(c.Scores)), slices.Sorted(slices.Values(scores)))
			// it can end among equal scores, of which Hugging Face's choice is arbitrary
			if config.TopP < 1 {
				least := slices.Min(scores)
				unlike := func(scores []float32, ids []int32) (rest []int32) {
					for i, score := range scores {
						if score != least {
							rest = append(rest, ids[i])
						}
					}
					return rest
				}
				require.Equal(t, unlike(c.Scores, c.Kept), unlike(scores, kept))
				return
			}
			require.Equal(t, c.Kept, kept)
			require.Equal(t, c.Scores, scores)

			if !config.DoSample {
				return
			}
			var total float64
			highest := float64(c.Scores[Greedy(c.Scores)])
			for _, score := range c.Scores {
				total += math.Exp(float64(score) - highest)
			}
			for i, k := range s.kept {
				require.InEpsilon(t, math.Exp(float64(c.Scores[i])-highest)/total, k.weight/s.total(), 1e-12)
			}
		})
	}
}
