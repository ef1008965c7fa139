package sampling

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

func TestGreedy(t *testing.T) {
	for _, c := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{3}, 0},
		{[]float32{-3, -1, -2}, 1},
		{[]float32{1, 5, 2, 5}, 1}, // a tie: the lowest id
		{[]float32{float32(math.Inf(-1)), -9}, 1},
	} {
		require.Equal(t, c.want, Greedy(c.logits), "%v", c.logits)
	}
}

// The frequencies of many draws are the probabilities: Pearson's chi-square. The seed is fixed, so the test
// is too.
func TestDrawsFollowTheProbabilities(t *testing.T) {
	race.SkipAlone(t)
	random := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 60)
	for i := range logits {
		logits[i] = float32(random.NormFloat64())
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.TopK = 0 },
		func(c *Config) { c.TopK = 12 },
		func(c *Config) { c.Temperature = 2.5; c.TopP = 0.8 },
		func(c *Config) { c.TopK = 0; c.TypicalP = 0.7; c.MinP = 0.02 },
	} {
		c := Defaults()
		c.DoSample = true
		change(&c)
		const draws = 200_000
		s := New(c, 7)
		counts := make([]float64, len(logits))
		for range draws {
			id, err := s.Sample(logits, nil)
			require.NoError(t, err)
			counts[id]++
		}
		var chi2 float64
		var seen float64
		for _, k := range s.kept {
			want := draws * k.weight / s.total()
			require.Greater(t, want, 5.0, "too rare for the test")
			chi2 += (counts[k.id] - want) * (counts[k.id] - want) / want
			seen += counts[k.id]
		}
		require.EqualValues(t, draws, seen, "only what is kept is drawn")
		// Wilson and Hilferty: for n degrees of freedom, ∛(χ²/n) is nearly normal with mean 1−2/9n and
		// variance 2/9n.
		n := float64(len(s.kept) - 1)
		z := (math.Cbrt(chi2/n) - (1 - 2/(9*n))) / math.Sqrt(2/(9*n))
		t.Logf("%d tokens, χ² %.1f, z %.2f", len(s.kept), chi2, z)
		require.Less(t, math.Abs(z), 3.3, "one in a thousand would be more")
	}
}

// What is drawn for a seed is a promise: these are the first ids of seed 42, from a flat and from a steep
// distribution.
func TestTheStreamIsAPromise(t *testing.T) {
	c := Defaults()
	c.DoSample = true
	c.TopK = 0
	s := New(c, 42)
	flat := make([]float32, 1000)
	var ids []int32
	for range 8 {
		id, err := s.Sample(flat, nil)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	// Of a flat distribution over 1000 ids, the id is ⌊1000·u⌋, with u from the documented stream.
	key := [32]byte{42}
	random := rand.NewChaCha8(key)
	for _, id := range ids {
		require.Equal(t, int32(1000*(float64(random.Uint64()>>11)*0x1p-53)), id)
	}
	require.Equal(t, []int32{853, 205, 266, 906, 778, 35, 379, 822}, ids)
}

// One number a token, whatever the settings: so the same seed stays in step.
func TestOneNumberAToken(t *testing.T) {
	greedy := Defaults()
	one := Defaults()
	one.DoSample, one.TopK = true, 1
	for _, c := range []Config{greedy, one} {
		s := New(c, 9)
		for range 5 {
			_, err := s.Sample([]float32{1, 2, 3}, nil)
			require.NoError(t, err)
		}
		random := rand.NewChaCha8([32]byte{9})
		for range 5 {
			random.Uint64()
		}
		require.Equal(t, random.Uint64(), s.random.Uint64())
	}
}

func TestSampleExtremes(t *testing.T) {
	sample := func(logits []float32, ids []int32, change func(*Config)) (int32, error) {
		c := Defaults()
		c.DoSample = true
		change(&c)
		require.NoError(t, c.Check())
		return New(c, 1).Sample(logits, ids)
	}
	for name, change := range map[string]func(*Config){
		"coldest":          func(c *Config) { c.Temperature = leastTemperature },
		"coldest, typical": func(c *Config) { c.Temperature, c.TypicalP, c.TopK = leastTemperature, 0.5, 0 },
		"all zero":         func(c *Config) { c.Temperature, c.TopK = math.MaxFloat32, 1 },
		"infinite penalty": func(c *Config) { c.RepetitionPenalty, c.TopP = math.MaxFloat32, 0 },
		"all at once": func(c *Config) {
			c.Temperature, c.TopP, c.MinP, c.TypicalP = 1e-20, 1e-300, 1,
				1e-300
		},
	} {
		id, err := sample([]float32{-1, 3, 2}, []int32{0, 0, 2}, change)
		require.NoError(t, err, name)
		require.EqualValues(t, 1, id, name)
	}
	// A score that has become infinite is the highest, and no NaN comes of it.
	for _, typicalP := range []float64{1, 0.5} {
		id, err := sample([]float32{-1, 3, 2}, []int32{0, 0, 2},
			func(c *Config) { c.Temperature, c.RepetitionPenalty, c.TypicalP = 1e-20, 1e-20, typicalP })
		require.NoError(t, err)
		require.EqualValues(t, 2, id)
	}
	for _, doSample := range []bool{false, true} {
		_, err := sample([]float32{1, 2, 3}, []int32{0, 1, 2},
			func(c *Config) { c.NoRepeatNGram, c.DoSample = 1, doSample })
		require.ErrorIs(t, err, ErrNothingLeft)
		_, err = sample([]float32{1}, nil,
			func(c *Config) { c.MinNewTokens, c.EOS, c.DoSample = 1, []int32{0}, doSample })
		require.ErrorIs(t, err, ErrNothingLeft)
	}
	// Ids that the vocabulary does not have, from a checkpoint that lies.
	id, err := sample([]float32{1, 9}, []int32{-1, 700}, func(c *Config) {
		c.RepetitionPenalty, c.NoRepeatNGram, c.MinNewTokens, c.EOS = 2, 1, 1, []int32{-5, 2, 0}
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, id)
}

// Where the goldens have no case: what is left of a few equal or nearly equal scores.
func TestEdges(t *testing.T) {
	kept := func(logits []float32, ids []int32, change func(*Config)) (kept []int32) {
		c := Defaults()
		c.DoSample = true
		change(&c)
		s := New(c, 1)
		s.mustSample(t, logits, ids)
		for _, k := range s.kept {
			kept = append(kept, k.id)
		}
		return kept
	}
	require.Equal(t, []int32{0, 1, 3}, kept([]float32{3, 2, 0, 1}, nil, func(c *Config) { c.TopK = 3 }),
		"all but one")
	require.Equal(t, []int32{2, 3}, kept([]float32{1, 1, 1, 1}, nil, func(c *Config) { c.TopP = 0.5 }),
		"of equal ones the highest ids")
	require.Equal(t, []int32{0, 1, 3}, kept([]float32{1, 1, 1, 1}, []int32{2, 2},
		func(c *Config) { c.NoRepeatNGram = 2 }), "the shortest text that has repeated")
	require.Len(t, kept([]float32{1, 1, 1, 1}, []int32{2}, func(c *Config) { c.NoRepeatNGram = 2 }), 4)

	// Even the smallest number draws no token whose probability is 0.
	s := New(Defaults(), 1)
	s.kept = []candidate{{id: 0}, {id: 1, weight: 1}, {id: 2}}
	require.EqualValues(t, 1, s.draw(0))
	require.EqualValues(t, 1, s.draw(1), "nor does rounding at the other end")
}

// Whatever the settings and logits, a token that can be drawn is drawn, or the error says that there is none.
func FuzzSample(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 5}, float32(0.8), 3, 0.9, 0.1, 0.9, float32(1.1), 2, uint8(7))
	f.Add([]byte{0, 0, 0, 0}, float32(1e-40), 0, 0.0, 1.0, 1e-9, float32(1e30), 1, uint8(255))
	f.Fuzz(func(t *testing.T, values []byte, temperature float32, topK int, topP, minP, typicalP float64,
		penalty float32, ngram int, bits uint8,
	) {
		c := Config{
			DoSample: bits&1 == 1, Temperature: temperature, TopK: topK, TopP: topP, MinP: minP,
			TypicalP: typicalP, RepetitionPenalty: penalty, NoRepeatNGram: ngram,
			MinNewTokens: int(bits >> 6), EOS: []int32{1, 3},
			FrequencyPenalty: float32(topP), PresencePenalty: -float32(minP),
			LogitBias: map[int32]float32{0: 100 * float32(minP), 1: -100 * float32(typicalP), 500: 1},
		}
		if len(values) == 0 || c.Check() != nil {
			return
		}
		logits := make([]float32, len(values))
		for i, v := range values {
			logits[i] = float32(int8(v)) * []float32{1, 0.1, 1e30, 1e-30}[bits>>2&3]
		}
		s, twin := New(c, uint64(bits)), New(c, uint64(bits))
		ids := []int32{0, 2}
		for range 3 {
			id, err := s.Sample(logits, ids)
			again, errAgain := twin.Sample(logits, ids)
			require.Equal(t, id, again)
			require.Equal(t, err, errAgain)
			if err != nil {
				require.Equal(t, ErrNothingLeft, err)
				return
			}
			require.False(t, s.scores[id] == ruledOut)
			ids = append(ids, id)
		}
	})
}

// pushHighest and cut against sorting, on values with many ties.
func TestSelection(t *testing.T) {
	race.SkipAlone(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		n := 1 + random.IntN(40)
		scores := make([]float32, n)
		r := make([]ranked, n)
		for i := range scores {
			scores[i] = float32(random.IntN(10))
			r[i] = ranked{key: float64(random.IntN(10)), tie: int32(i), weight: float64(random.IntN(4))}
		}
		k := 1 + random.IntN(n)
		sorted := slices.Sorted(slices.Values(scores))
		var heap []float32
		for _, score := range scores {
			heap = pushHighest(heap, score, k)
		}
		require.ElementsMatch(t, sorted[n-k:], heap)
		require.Equal(t, sorted[n-k], heap[0])

		order := slices.Clone(r)
		slices.SortFunc(order, func(a, b ranked) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		need := float64(random.IntN(3 * n))
		at, sum := 0, order[0].weight
		for sum < need && at+1 < n {
			at++
			sum += order[at].weight
		}
		require.Equal(t, order[at], cut(r, need), "need %v of %v", need, order)
	}
}

func TestLogProbs(t *testing.T) {
	logits := []float32{1, 3, 2, 3, -200}
	l := NewLogProbs(logits)
	var total float64
	for _, x := range logits {
		total += math.Exp(float64(x))
	}
	for id, x := range logits {
		require.InDelta(t, float64(x)-math.Log(total), l.Of(int32(id)), 1e-12)
	}
	require.Equal(t, []int32{1, 3, 2}, l.Top(3))
	require.Equal(t, []int32{1}, l.Top(1), "of equal ones the lowest id")
	require.Equal(t, []int32{1, 3, 2, 0, 4}, l.Top(99))
	require.Empty(t, l.Top(0))
	require.InDelta(t, 0, NewLogProbs([]float32{500, -500}).Of(0), 1e-12, "no overflow")
}
