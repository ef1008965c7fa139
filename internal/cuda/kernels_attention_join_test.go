//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The last tokens of long sequences, of which the cache holds all others. Each step decodes as many tokens of
// each sequence.
var joinCases = []struct {
	attentionCase
	steps [][]int
}{
	// Every stage of the ring, filled in part and wholly; the factors of one to three groups of 32 chunks.
	{attentionCase{
		shape(1, 1, 64, 32, 0), chunkLens(15, 16, 17, 31, 32, 33, 64, 65), 1, 1,
	}, [][]int{ints(8, 8), ints(8, 1)}},
	// 40 sequences in a step, and 64.
	{attentionCase{shape(1, 2, 64, 32, 0), ints(40, 130), 1, 6}, [][]int{ints(40, 1), ints(40, 1)}},
	{attentionCase{shape(1, 1, 64, 32, 0), ints(64, 129), 1, 7}, [][]int{ints(64, 1), ints(64, 1)}},
	// Hundreds of chunks, and a short sequence beside them; the first step crosses the end of a chunk.
	{attentionCase{shape(1, 2, 64, 32, 0), []int{301*128 + 5, 70}, 1.5, 2}, [][]int{{7, 1}, {1, 1}}},
	// A window whose first chunk differs between the queries of a step.
	{attentionCase{shape(2, 1, 96, 48, 40*128), []int{50*128 + 5}, 1, 3}, [][]int{{8}, {1}}},
	// Three parts of columns, the last of 16; 24 rows; the ring goes round.
	{attentionCase{shape(1, 3, 80, 40, 0), []int{100*128 + 3}, 1, 4}, [][]int{{8}, {1}}},
	// One tile, and eight parts of columns.
	{attentionCase{shape(1, 1, 256, 128, 0), []int{35*128 + 3}, 1, 5}, [][]int{{4}}},
}

// ints is n times the same number.
func ints(n, value int) []int { return slices.Repeat([]int{value}, n) }

// chunkLens are lengths that end in the given chunks, counted from 1.
func chunkLens(chunks ...int) (lens []int) {
	for i, n := range chunks {
		lens = append(lens, n*128-3-i)
	}
	return lens
}

// TestAttentionJoin: the join of many chunks has the bits of prefill, which joins as it goes.
func TestAttentionJoin(t *testing.T) {
	b := newKernelBench(t)
	for i := range joinCases {
		c := &joinCases[i]
		ok := t.Run(fmt.Sprintf("heads of %d, %d sequences, %d tokens", c.headDim, len(c.lens), c.lens[0]),
			func(t *testing.T) {
				b.t = t
				testJoin(openAttention(b, &c.attentionCase, typeBF16), c.steps)
			})
		if !ok {
			return // the device may be lost
		}
	}
}

func testJoin(b *attentionTest, steps [][]int) {
	var before []int                     // the number of tokens that the cache holds
	all := make([]int, len(b.sequences)) // the others, in one step
	whole := slices.Clone(b.sequences)
	for i, s := range whole {
		for _, step := range steps {
			all[i] += step[i]
		}
		n := len(s.qkv) - all[i]*b.columns()
		before = append(before, n/b.columns())
		b.sequences[i].qkv = s.qkv[:n]
	}
	history := b.expectedCache()
	copy(b.sequences, whole)

	attend := func(steps [][]int, blocks int) (outs [][]byte, cache []byte) {
		kv := toDevice(b.workbench, history)
		outs, cache = b.attendFrom(kv, slices.Clone(before), steps, blocks)
		require.NoError(b.t, b.err, b.at)
		require.Empty(b.t, b.wrong)
		return outs, cache
	}
	prefill, cache := attend([][]int{all}, 0)
	require.True(b.t, bytes.Equal(cache, b.expectedCache()), "prefill: another cache")
	for i := range whole {
		got, want := b.values(prefill[i]), b.exactFrom(&whole[i], before[i], plain)
		for row := 0; row < len(want); row += b.k.headDim {
			requireLess(b.t, distance(got[row:][:b.k.headDim], want[row:][:b.k.headDim]), 0.03,
				"sequence %d, row %d", i, row/b.k.headDim)
		}
	}
	for _, blocks := range []int{1, 1000} {
		decode, cache := attend(steps, blocks)
		for i := range whole {
			require.True(b.t, bytes.Equal(prefill[i], decode[i]),
				"%d blocks, sequence %d: not the bytes of prefill", blocks, i)
		}
		require.True(b.t, bytes.Equal(cache, b.expectedCache()), "%d blocks: another cache", blocks)
	}
}
