package sampling

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomConfig is a config with any of the settings on.
func randomConfig(random *rand.Rand, vocabulary int) Config {
	c := Defaults()
	c.DoSample = random.IntN(8) > 0
	on := func() bool { return random.IntN(2) == 0 }
	c.TopK = 0
	if on() {
		c.TopK = random.IntN(2 * vocabulary)
	}
	if on() {
		c.Temperature = 0.05 + 2*random.Float32()
	}
	if on() {
		c.TopP = random.Float64()
	}
	if on() {
		c.MinP = random.Float64() / 4
	}
	if on() {
		c.TypicalP = 1 - random.Float64()
	}
	if on() {
		c.RepetitionPenalty = 0.5 + random.Float32()
	}
	if on() {
		c.FrequencyPenalty, c.PresencePenalty = random.Float32(), -random.Float32()
	}
	if on() {
		c.LogitBias = map[int32]float32{int32(random.IntN(vocabulary)): 3}
		c.Suppress = []int32{int32(random.IntN(vocabulary))}
	}
	if on() {
		c.NoRepeatNGram = 2
	}
	return c
}

// After the last step, the probabilities are those of the Sampler's draw, to the bit.
func TestTrace(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	greedy, empty := 0, 0
	for range 2000 {
		logits := make([]float32, 1+random.IntN(40))
		for i := range logits {
			logits[i] = float32(random.IntN(20)-10) / 2 // equal ones are there
		}
		ids := make([]int32, random.IntN(20))
		for i := range ids {
			ids[i] = int32(random.IntN(len(logits)))
		}
		c := randomConfig(random, len(logits))
		require.NoError(t, c.Check())
		generated := random.IntN(len(ids) + 1)

		steps := Trace(c, logits, ids, generated)
		names := []string{"model", "penalties", "temperature", "top_k", "top_p", "min_p"}
		if c.DoSample && c.TypicalP < 1 {
			names = append(names, "typical_p")
		}
		for i, step := range steps {
			require.Equal(t, names[i], step.Name)
			checkStep(t, step)
			for id, p := range step.Probabilities {
				if i > 0 && steps[i-1].Probabilities[id] == 0 {
					require.Zero(t, p, "what is removed stays removed")
				}
			}
		}
		require.Len(t, steps, len(names))
		last := steps[len(steps)-1]

		s := New(c, random.Uint64())
		s.chosen = generated
		id, err := s.Sample(logits, ids)
		if last.Kept == 0 {
			require.ErrorIs(t, err, ErrNothingLeft)
			empty++
			continue
		}
		require.NoError(t, err)
		require.Positive(t, last.Probabilities[id])
		if !c.DoSample {
			require.Equal(t, 1, last.Kept)
			require.Equal(t, steps[2], Step{"temperature", last.Probabilities, 1})
			greedy++
			continue
		}
		want := make([]float64, len(logits))
		for _, k := range s.kept {
			want[k.id] = k.weight / s.total()
		}
		require.Equal(t, want, last.Probabilities)
	}
	require.Greater(t, greedy, 50)
	require.Greater(t, empty, 5)
}

func checkStep(t *testing.T, s Step) {
	t.Helper()
	var sum float64
	kept := 0
	for _, p := range s.Probabilities {
		sum += p
		if p > 0 {
			kept++
		}
	}
	require.Equal(t, kept, s.Kept)
	if kept > 0 {
		require.InDelta(t, 1, sum, 1e-12)
	}
}

// The first step is the model's own distribution, and a step that is off changes nothing.
func TestTraceOff(t *testing.T) {
	logits := logitsLike(5000)
	c := Defaults()
	c.DoSample, c.TopK = true, 0
	steps := Trace(c, logits, []int32{1, 2, 3}, 1)
	require.Len(t, steps, 6)
	logProbs := NewLogProbs(logits)
	for id, p := range steps[0].Probabilities {
		require.InEpsilon(t, math.Exp(logProbs.Of(int32(id))), p, 1e-9)
	}
	for _, step := range steps[1:] {
		require.Equal(t, steps[0].Probabilities, step.Probabilities, step.Name)
	}

	// A token that is so improbable that no draw finds it is not left.
	c.Temperature = leastTemperature
	steps = Trace(c, []float32{1, 2, 1.5}, nil, 0)
	require.Equal(t, 3, steps[1].Kept)
	require.Equal(t, Step{"temperature", []float64{0, 1, 0}, 1}, steps[2])
}
