package cpu

import (
	"math"

	"phi3/internal/model"
)

// weightedSums are the sums of the values times their weights, for some rows. A row is a query head of a
// token.
type weightedSums struct {
	top, total []float32 // [rows, or some more] the largest score, and the sum of the powers relative to it
	values     []float32 // [rows, dims]
}

// newWeightedSums lays the sums out in memory, whose length is sumsLen.
func newWeightedSums(memory []float32, rows, dims int) weightedSums {
	states := upTo16(rows)
	return weightedSums{memory[:states], memory[states : 2*states], memory[2*states : sumsLen(rows, dims)]}
}

func sumsLen(rows, dims int) int { return 2*upTo16(rows) + rows*dims }

// upTo16 is the lowest multiple of 16 that is not less than n.
func upTo16(n int) int { return (n + 15) &^ 15 }

// clear makes them the sums of no keys.
func (s *weightedSums) clear() {
	s.clearStates()
	clear(s.values)
}

func (s *weightedSums) clearStates() {
	for r := range s.top {
		s.top[r], s.total[r] = -math.MaxFloat32, 0
	}
}

// attentionScratch is one worker's memory for a query set. Its rows are the query heads of the first query,
// then those of the next query.
type attentionScratch struct {
	q       []float32    // [rows, dims]
	scores  []float32    // [rows, chunk] scores, then the powers of two: the weights of the values
	ofChunk weightedSums // over one chunk
	ofAll   weightedSums // over all chunks so far
	old     []float32    // [rows] the factors of the sums so far, see vectors.mergeStates
	product kvProduct

	// With tiles only.
	highQ, lowQ, high, low []uint16 // q and scores, each as the sum of two bfloat16

	// [chunk, dims] values, with zeros for those that a query may not see, see queryChunk.weigh. It is
	// allocated when it is first needed.
	own kvMatrix
}

// attentionScratchRows is the number of rows in the largest query set.
func attentionScratchRows(v *vectors, c *model.Config) int {
	perKV := c.Heads / c.KVHeads
	return max(1, v.attentionRows/perKV) * perKV
}

// attentionScratchBytes is the size of what newAttentionScratch allocates.
func attentionScratchBytes(v *vectors, c *model.Config) int64 {
	rows := attentionScratchRows(v, c)
	inputs := rows*kvDims(c) + rows*chunk // q and scores
	bytes := 4 * (inputs + upTo16(rows) + 2*sumsLen(rows, kvDims(c)))
	if v.tiles != nil {
		bytes += 2 * 2 * inputs
	}
	return int64(bytes)
}

func newAttentionScratch(v *vectors, c *model.Config) *attentionScratch {
	rows := attentionScratchRows(v, c)
	floats := func(n int) []float32 { return make([]float32, n) }
	n := sumsLen(rows, kvDims(c))
	w := &attentionScratch{
		q: floats(rows * kvDims(c)), scores: floats(rows * chunk), old: floats(upTo16(rows)),
		ofChunk: newWeightedSums(floats(n), rows, kvDims(c)),
		ofAll:   newWeightedSums(floats(n), rows, kvDims(c)),
	}
	if v.tiles != nil {
		w.highQ, w.lowQ = make([]uint16, len(w.q)), make([]uint16, len(w.q))
		w.high, w.low = make([]uint16, len(w.scores)), make([]uint16, len(w.scores))
	}
	return w
}
