package sampling

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

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
	{"bias, penalties of the text", func(c *Config) {
		c.FrequencyPenalty, c.PresencePenalty, c.LogitBias = 0.5, 0.25, map[int32]float32{1: 2, 7: -100}
	}},
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
