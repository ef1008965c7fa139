package sampling

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
)

// Greedy returns the index of the largest of logits, and the lowest index of equal ones, as PyTorch's argmax
// does (spec 4.4). logits must not be empty.
func Greedy(logits []float32) int32 {
	best := 0
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// Sampler chooses the tokens of one text. Only one goroutine may use it.
type Sampler struct {
	config  Config
	random  *rand.ChaCha8
	chosen  int         // tokens so far
	scores  []float32   // [vocab]
	seen    []uint64    // [vocab] bits: the ids so far
	borders []int32     // [ids] scratch of forbidRepeats
	counts  []int32     // [vocab] scratch of the frequency penalty; zero between calls
	best    float32     // the highest score; every step before typical-p keeps the tokens that have it
	kept    []candidate // in the order of their ids
	ranked  []ranked    // scratch of top-p and typical-p
	highest []float32   // scratch of top-k: a heap
}

// candidate is a token that can still be drawn.
type candidate struct {
	id     int32
	score  float32
	weight float64 // e^(score − highest score): its probability times a factor that all share
}

// New starts a text. The config must have passed [Config.Check].
//
// The random numbers are C2SP's chacha8rand, which is ChaCha8 of Go's math/rand/v2. The key is the seed as
// eight little-endian bytes, and 24 zeros. Every token takes one 64-bit number v, and u = (v >> 11)·2⁻⁵³. The
// token is the first one, in the order of ids, at which the sum of the probabilities exceeds u.
func New(c Config, seed uint64) *Sampler {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &Sampler{config: c, random: rand.NewChaCha8(key)}
}

// ErrNothingLeft says that the settings rule out every token.
var ErrNothingLeft = errors.New("no token is left to choose: the settings of generation, such as " +
	"no_repeat_ngram_size, rule out the whole vocabulary")

// Sample chooses the token after ids, which are the prompt's and the text's so far, from its logits [vocab].
// It changes neither. The logits must be finite.
func (s *Sampler) Sample(logits []float32, ids []int32) (int32, error) {
	c := &s.config
	u := float64(s.random.Uint64()>>11) * 0x1p-53
	s.scores = append(s.scores[:0], logits...)
	s.process(ids)
	s.chosen++

	if !c.DoSample {
		best := Greedy(s.scores)
		if s.scores[best] == ruledOut {
			return 0, ErrNothingLeft
		}
		return best, nil
	}
	if s.filter(); len(s.kept) == 0 {
		return 0, ErrNothingLeft
	}
	return s.draw(u), nil
}

// process changes the scores as [Config] says, in the order of transformers' _get_logits_processor. Bias and
// penalties are in the order of vLLM's Sampler.
func (s *Sampler) process(ids []int32) {
	c := &s.config
	addBias(s.scores, c.LogitBias)
	if c.RepetitionPenalty != 1 {
		s.penalize(ids)
	}
	if c.FrequencyPenalty != 0 || c.PresencePenalty != 0 {
		s.penalizeText(ids[max(0, len(ids)-s.chosen):])
	}
	if c.NoRepeatNGram > 0 {
		s.forbidRepeats(ids, c.NoRepeatNGram)
	}
	forbidWords(s.scores, ids, c.BadWords, c.EOS)
	if len(ids) < c.MinLength || s.chosen < c.MinNewTokens {
		forbid(s.scores, c.EOS)
	}
	if c.ForcedBOS != nil && len(ids) == 1 {
		force(s.scores, []int32{*c.ForcedBOS})
	}
	if len(c.ForcedEOS) > 0 && s.chosen == c.MaxNewTokens-1 {
		force(s.scores, c.ForcedEOS)
	}
	forbid(s.scores, c.Suppress)
	first := 0
	if prompt := len(ids) - s.chosen; prompt == 1 && c.ForcedBOS != nil {
		first = 1 // after the forced one
	}
	if s.chosen == first {
		forbid(s.scores, c.SuppressFirst)
	}
}

// draw chooses one of s.kept by the weights.
func (s *Sampler) draw(u float64) int32 {
	u *= s.total()
	var sum float64
	last := s.kept[0].id // if the rounded sum never exceeds u
	for _, k := range s.kept {
		if sum += k.weight; sum > u {
			return k.id
		}
		if k.weight > 0 {
			last = k.id
		}
	}
	return last
}

func (s *Sampler) total() (sum float64) {
	for _, k := range s.kept {
		sum += k.weight
	}
	return sum
}
