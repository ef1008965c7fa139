package sampling

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
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
			// it may end among equal scores, and Hugging Face's choice of those is no rule
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

// The frequencies of many draws are the probabilities: Pearson's chi-square. The seed is fixed, so the test
// is too.
func TestDrawsFollowTheProbabilities(t *testing.T) {
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

func TestConfig(t *testing.T) {
	c := Defaults()
	require.NoError(t, c.Check())
	require.True(t, c.Neutral())
	require.NoError(t, json.Unmarshal([]byte(`{"do_sample": true, "temperature": 0.8, "top_p": null, "top_k": 20, "eos_token_id": [1, 2], "min_p": 0.1}`), &c))
	require.Equal(t, Config{
		RepetitionPenalty: 1, Temperature: 0.8, TopK: 20, TopP: 1, MinP: 0.1,
		TypicalP: 1,
	}, c)

	for want, change := range map[string]func(*Config){
		"temperature is 0, not above 0 (1e-20 or more)":  func(c *Config) { c.Temperature = 0 },
		"temperature is -1, not above 0 (1e-20 or more)": func(c *Config) { c.Temperature = -1 },
		"top_k is -1, not 0 or more":                     func(c *Config) { c.TopK = -1 },
		"top_p is 1.5, not in 0 … 1":                     func(c *Config) { c.TopP = 1.5 },
		"min_p is -0.1, not in 0 … 1":                    func(c *Config) { c.MinP = -0.1 },
		"typical_p is 0, not above 0 and up to 1":        func(c *Config) { c.TypicalP = 0 },
		"repetition_penalty is 0, not above 0":           func(c *Config) { c.RepetitionPenalty = 0 },
		"no_repeat_ngram_size is -2, not 0 or more":      func(c *Config) { c.NoRepeatNGram = -2 },
		"min_new_tokens is -2, not 0 or more":            func(c *Config) { c.MinNewTokens = -2 },
	} {
		c := Defaults()
		change(&c)
		require.EqualError(t, c.Check(), want)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Temperature = float32(math.NaN()) },
		func(c *Config) { c.Temperature = float32(math.Inf(1)) },
		func(c *Config) { c.Temperature = 1e-21 },
		func(c *Config) { c.RepetitionPenalty = float32(math.Inf(1)) },
		func(c *Config) { c.TopP = math.NaN() },
		func(c *Config) { c.MinP = math.NaN() },
		func(c *Config) { c.TypicalP = math.NaN() },
	} {
		c := Defaults()
		change(&c)
		require.ErrorAs(t, c.Check(), new(*RangeError))
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.DoSample = true },
		func(c *Config) { c.RepetitionPenalty = 1.1 },
		func(c *Config) { c.NoRepeatNGram = 3 },
		func(c *Config) { c.MinNewTokens = 1 },
	} {
		c := Defaults()
		change(&c)
		require.False(t, c.Neutral())
	}
}

// Whatever the settings and logits, a token that can be drawn is drawn, or the error says that there is none.
func FuzzSample(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 5}, float32(0.8), 3, 0.9, 0.1, 0.9, float32(1.1), 2, uint8(7))
	f.Add([]byte{0, 0, 0, 0}, float32(1e-40), 0, 0.0, 1.0, 1e-9, float32(1e30), 1, uint8(255))
	f.Fuzz(func(t *testing.T, values []byte, temperature float32, topK int, topP, minP, typicalP float64,
		penalty float32, ngram int, bits uint8,
	) {
		c := Config{
			DoSample: bits&1 == 1, Temperature: temperature, TopK: topK, TopP: topP, MinP: minP, TypicalP: typicalP,
			RepetitionPenalty: penalty, NoRepeatNGram: ngram, MinNewTokens: int(bits >> 6), EOS: []int32{
				1,
				3,
			},
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

var vocabularies = []int{32064, 200064}

// logitsLike makes logits that are spread as a language model's: most around 0, a few up to 25, which have
// nearly all of the probability.
func logitsLike(size int) []float32 {
	random := rand.New(rand.NewPCG(5, 6))
	logits := make([]float32, size)
	for i := range logits {
		logits[i] = float32(2.5 * random.NormFloat64())
	}
	for i := range 200 {
		logits[random.IntN(size)] += 25 / float32(1+i/10)
	}
	return logits
}

var settings = []struct {
	name   string
	change func(*Config)
}{
	{"penalties", func(c *Config) { c.DoSample = false; c.RepetitionPenalty, c.NoRepeatNGram = 1.1, 3 }},
	{"top-k=50", func(*Config) {}},
	{"top-k=50,top-p=0.9", func(c *Config) { c.Temperature, c.TopP = 0.8, 0.9 }},
	{"top-k=0", func(c *Config) { c.TopK = 0 }},
	{"top-p=0.9", func(c *Config) { c.TopK, c.TopP = 0, 0.9 }},
	{"min-p=0.05", func(c *Config) { c.TopK, c.MinP = 0, 0.05 }},
	{"typical-p=0.9", func(c *Config) { c.TopK, c.TypicalP = 0, 0.9 }},
}

func (s *Sampler) mustSample(tb testing.TB, logits []float32, ids []int32) {
	if _, err := s.Sample(logits, ids); err != nil {
		tb.Fatal(err)
	}
}

func TestSampleAllocatesNothing(t *testing.T) {
	logits := logitsLike(5000)
	ids := []int32{1, 2, 3, 1, 2}
	for _, setting := range settings {
		c := Defaults()
		c.DoSample = true
		setting.change(&c)
		s := New(c, 1)
		s.mustSample(t, logits, ids)
		require.Zero(t, testing.AllocsPerRun(20, func() { s.mustSample(t, logits, ids) }), setting.name)
	}
}

func BenchmarkSample(b *testing.B) {
	for _, size := range vocabularies {
		logits := logitsLike(size)
		ids := make([]int32, 1000)
		for i := range ids {
			ids[i] = int32(i * 31 % 700)
		}
		b.Run(fmt.Sprintf("vocab=%d/greedy", size), func(b *testing.B) {
			for b.Loop() {
				Greedy(logits)
			}
		})
		for _, setting := range settings {
			b.Run(fmt.Sprintf("vocab=%d/%s", size, setting.name), func(b *testing.B) {
				c := Defaults()
				c.DoSample = true
				setting.change(&c)
				s := New(c, 1)
				s.mustSample(b, logits, ids)
				b.ReportAllocs()
				for b.Loop() {
					s.mustSample(b, logits, ids)
				}
			})
		}
	}
}
