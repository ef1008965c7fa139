package sampling

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// The scores after bias and penalties, by hand. The prompt is 0 0 3; the text is 1 1 2.
func TestBiasAndPenalties(t *testing.T) {
	prompt, text := []int32{0, 0, 3}, []int32{1, 1, 2}
	logits := []float32{1, 2, -3, 4, 0.5}
	for name, c := range map[string]struct {
		change func(*Config)
		want   []float32
	}{
		"frequency": {func(c *Config) { c.FrequencyPenalty = 0.5 }, []float32{1, 1, -3.5, 4, 0.5}},
		"presence":  {func(c *Config) { c.PresencePenalty = 0.75 }, []float32{1, 1.25, -3.75, 4, 0.5}},
		"both": {
			func(c *Config) { c.FrequencyPenalty, c.PresencePenalty = 1.5, -2 },
			[]float32{1, 1, -2.5, 4, 0.5},
		},
		"bias": {
			func(c *Config) { c.LogitBias = map[int32]float32{0: 1.5, 2: 2, 4: -100, 5: 1, -1: 1} },
			[]float32{2.5, 2, -1, 4, -99.5},
		},
		// The bias comes first: the repetition penalty halves 1+3, doubles 2−3 and −3, and halves 4. Then
		// presence lowers 1 and 2.
		"all": {
			func(c *Config) {
				c.LogitBias, c.RepetitionPenalty = map[int32]float32{0: 3, 1: -3}, 2
				c.PresencePenalty = 0.25
			},
			[]float32{2, -2.25, -6.25, 2, 0.5},
		},
		// What a later step rules out stays so.
		"ruled out": {
			func(c *Config) {
				c.LogitBias, c.Suppress = map[int32]float32{3: 100}, []int32{3}
			},
			[]float32{1, 2, -3, ruledOut, 0.5},
		},
	} {
		config := Defaults()
		c.change(&config)
		require.NoError(t, config.Check(), name)
		s := New(config, 0)
		s.chosen = len(text)
		id, err := s.Sample(logits, slices.Concat(prompt, text))
		require.NoError(t, err)
		require.Equal(t, c.want, s.scores, name)
		require.Equal(t, Greedy(c.want), id, name)
	}
}

// The penalties follow a text as it grows, and a new text begins without any.
func TestPenaltiesFollowTheText(t *testing.T) {
	c := Defaults()
	c.FrequencyPenalty = 1
	logits := []float32{0, 2.5, 1.75, -9}
	var texts [2][]int32
	for i := range texts {
		s := New(c, 0)
		ids := []int32{1, 1, 1, 1, 2} // the prompt, which does not count
		for range 6 {
			id, err := s.Sample(logits, ids)
			require.NoError(t, err)
			ids = append(ids, id)
		}
		texts[i] = ids[5:]
	}
	// 2.5 1.5 | 1.75 0.75 | 0: the highest that is left comes next
	require.Equal(t, []int32{1, 2, 1, 2, 1, 0}, texts[0])
	require.Equal(t, texts[0], texts[1])
}

// A bias of -100 bans an id, and 100 makes it the only choice, whatever the seed.
func TestBiasBans(t *testing.T) {
	logits := logitsLike(300)
	best := Greedy(logits)
	for bias, want := range map[float32]int{-100: 0, 100: 200} {
		c := Defaults()
		c.DoSample, c.LogitBias = true, map[int32]float32{best: bias}
		s := New(c, 3)
		n := 0
		for range 200 {
			id, err := s.Sample(logits, nil)
			require.NoError(t, err)
			if id == best {
				n++
			}
		}
		require.Equal(t, want, n)
	}
}

// Random settings against a reference that follows the documented formulas in float64.
func TestPenaltiesAgainstReference(t *testing.T) {
	race.SkipAlone(t)
	random := rand.New(rand.NewPCG(8, 9))
	for range 300 {
		const vocab = 40
		logits := make([]float32, vocab)
		for i := range logits {
			logits[i] = float32(4 * random.NormFloat64())
		}
		ids := make([]int32, random.IntN(60))
		for i := range ids {
			ids[i] = random.Int32N(vocab)
		}
		chosen := random.IntN(len(ids) + 1)
		c := Defaults()
		c.FrequencyPenalty, c.PresencePenalty = 4*random.Float32()-2, 4*random.Float32()-2
		c.LogitBias = map[int32]float32{}
		for range random.IntN(20) {
			c.LogitBias[random.Int32N(vocab)] = 200*random.Float32() - 100
		}
		require.NoError(t, c.Check())

		want := make([]float64, vocab)
		for id := range int32(vocab) {
			var count, present float64
			for _, chosen := range ids[len(ids)-chosen:] {
				if chosen == id {
					count, present = count+1, 1
				}
			}
			want[id] = float64(logits[id]) + float64(c.LogitBias[id]) -
				count*float64(c.FrequencyPenalty) - present*float64(c.PresencePenalty)
		}
		scores := func() []float32 {
			s := New(c, 0)
			s.chosen = chosen
			s.mustSample(t, logits, ids)
			require.Zero(t, slices.Max(append(s.counts, 0)), "counts are left")
			return s.scores
		}
		first := scores()
		for id, score := range first {
			require.InDelta(t, want[id], float64(score), 2e-5)
		}
		require.Equal(t, first, scores(), "the same bits, in whatever order a map gives its keys")
	}
}

// What no_repeat_ngram_size rules out is what its definition says, and the longest text with the worst n
// takes no longer than another one.
func TestNoRepeatedNGrams(t *testing.T) {
	race.SkipAlone(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		ids := make([]int32, 1+random.IntN(20))
		for i := range ids {
			ids[i] = int32(random.IntN(1 + random.IntN(3)))
		}
		n := 1 + random.IntN(6)
		want := make([]float32, 4)
		for end := n; end <= len(ids); end++ {
			if slices.Equal(ids[end-n:end-1], ids[len(ids)-(n-1):]) {
				want[ids[end-1]] = ruledOut
			}
		}
		s := Sampler{scores: make([]float32, 4)}
		s.forbidRepeats(ids, n)
		require.Equal(t, want, s.scores, "%v, %d", ids, n)
	}
	s := Sampler{scores: make([]float32, 4)}
	for range 20 {
		s.forbidRepeats(make([]int32, 1<<17), 1<<16)
	}
	require.Equal(t, ruledOut, s.scores[0])
}
