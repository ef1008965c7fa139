package cpu

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/race"
)

// Sequences share the blocks that they begin with, in a step of a piece of a prompt, of three tokens and of
// one: each gets what it gets alone. Their block tables together have more entries than there are blocks. An
// earlier sequence left values that are not finite in the blocks that are not shared, and in some cases a
// shared block has such a value.
func TestAttendSharesBlocks(t *testing.T) { onEveryPath(t, testAttendSharesBlocks) }

func testAttendSharesBlocks(t *testing.T) {
	for _, c := range []model.Config{
		{Heads: 6, KVHeads: 2, HeadDim: 32, RoPE: model.RoPEConfig{Dim: 32}},
		{Heads: 8, KVHeads: 8, HeadDim: 96, RoPE: model.RoPEConfig{Dim: 96}, SlidingWindow: 200},
	} {
		for _, damaged := range []bool{false, true} {
			for _, threads := range []int{1, 3} {
				if race.Enabled && (threads == 1 || damaged == (c.SlidingWindow > 0)) {
					continue // with three threads: a damaged block without a window, and a window without one
				}
				testSharedBlocks(t, c, damaged, threads)
			}
		}
	}
}

// sharedSequence is a sequence of TestAttendSharesBlocks.
type sharedSequence struct {
	*attendCase
	alone  []float32 // what attention returns without the other sequences
	blocks []int32
	cached int
}

func testSharedBlocks(t *testing.T, c model.Config, damaged bool, threads int) {
	const tokens = 300
	o := Options{Threads: threads}
	first := newAttendCase(c, tokens)
	if damaged {
		first.qkv[150*c.QKVRows()+(c.Heads+c.KVHeads)*c.HeadDim] = float32(math.Inf(1))
	}
	sequences := []*sharedSequence{
		{attendCase: first, blocks: []int32{5, 0, 4}, cached: 256},
		{blocks: []int32{5, 0, 3}, cached: 256},
		{blocks: []int32{5, 1, 2}, cached: 128},
	}
	for i, s := range sequences {
		if i > 0 { // other tokens after those that are shared
			other := *first
			other.qkv = slices.Clone(first.qkv)
			for j := s.cached * c.QKVRows(); j < len(other.qkv); j++ {
				other.qkv[j] = first.qkv[len(other.qkv)-1-j%(40*c.QKVRows())] * float32(i)
			}
			s.attendCase = &other
		}
		s.alone = s.attend(t, o, s.cached, 7)
	}
	b := newBackend(t, o, first.c, tokens, 6)
	nan := *first
	nan.qkv = slices.Repeat([]float32{float32(math.NaN())}, len(first.qkv))
	(&sharedSequence{attendCase: &nan, blocks: []int32{1, 2, 3}}).step(t, b, tokens)
	prompt := &sharedSequence{attendCase: first, alone: sequences[0].alone, blocks: sequences[0].blocks}
	prompt.step(t, b, 256)
	require.Equal(t, damaged, b.kv[0].damaged.Load())
	for _, lengths := range [][]int{{20, 1, 3}, {1, 1, 1}, {3, 20, 1}} {
		stepTogether(t, b, sequences, lengths)
	}
	require.Equal(t, damaged, b.kv[0].damaged.Load(), "nobody mends a block that is shared")
	require.False(t, b.kv[1].damaged.Load() || b.kv[2].damaged.Load() || b.kv[3].damaged.Load())
}

// step feeds the next tokens of a sequence alone.
func (s *sharedSequence) step(t *testing.T, b *Backend, tokens int) {
	t.Helper()
	stepTogether(t, b, []*sharedSequence{s}, []int{tokens})
}

// stepTogether feeds the next tokens of some sequences in a step, and checks the attention of those that have
// been computed alone.
func stepTogether(t *testing.T, b *Backend, sequences []*sharedSequence, lengths []int) {
	t.Helper()
	step := &model.Step{}
	var qkv []float32
	tokens := 0
	c := b.config
	half, width := c.RoPE.Dim/2, c.Heads*c.HeadDim
	for i, s := range sequences {
		n := lengths[i]
		step.Seqs = append(step.Seqs, model.Span{Start: tokens, Len: n, Position: s.cached, Blocks: s.blocks})
		qkv = append(qkv, s.qkv[s.cached*c.QKVRows():(s.cached+n)*c.QKVRows()]...)
		step.Cos = append(step.Cos, s.attendCase.step.Cos[s.cached*half:(s.cached+n)*half]...)
		step.Sin = append(step.Sin, s.attendCase.step.Sin[s.cached*half:(s.cached+n)*half]...)
		tokens += n
	}
	m := poisoned(tokens, width)
	b.Begin(step)
	b.Attend(m, matrixOf(tokens, c.QKVRows(), qkv), 1)
	require.NoError(t, b.Read(nil, m))
	got := values(m)
	for i, s := range sequences {
		n := lengths[i] * width
		if s.alone != nil {
			require.Equal(t, bitsOf(s.alone[s.cached*width:][:n]), bitsOf(got[:n]), "sequence %d of %v", i,
				lengths)
		}
		got = got[n:]
		s.cached += lengths[i]
	}
}
