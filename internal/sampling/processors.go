package sampling

import (
	"math"
	"slices"
)

var ruledOut = float32(math.Inf(-1))

// forbid rules ids out. Ids beyond the vocabulary, which a damaged checkpoint may name, are ignored.
func forbid(scores []float32, ids []int32) {
	for _, id := range ids {
		if id >= 0 && int(id) < len(scores) {
			scores[id] = ruledOut
		}
	}
}

// penalize makes every id that occurred less probable, once however often it did: RepetitionPenaltyLogitsProcessor.
func (s *Sampler) penalize(ids []int32) {
	if s.seen == nil {
		s.seen = make([]uint64, (len(s.scores)+63)/64)
	}
	clear(s.seen)
	r := s.config.RepetitionPenalty
	for _, id := range ids {
		if id < 0 || int(id) >= len(s.scores) || s.seen[id/64]>>(id%64)&1 == 1 {
			continue
		}
		s.seen[id/64] |= 1 << (id % 64)
		if s.scores[id] < 0 {
			s.scores[id] *= r
		} else {
			s.scores[id] /= r
		}
	}
}

// forbidRepeats rules out what followed the last n−1 ids wherever they stood before: NoRepeatNGramLogitsProcessor.
func forbidRepeats(scores []float32, ids []int32, n int) {
	if len(ids) < n {
		return
	}
	last := ids[len(ids)-(n-1):]
	for i := range len(ids) - (n - 1) {
		if slices.Equal(ids[i:i+n-1], last) {
			forbid(scores, ids[i+n-1:i+n])
		}
	}
}
