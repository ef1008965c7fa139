package kvcache

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sequence returns n ids: those from 0 on, with other ids from the given positions on.
func sequence(n int, from ...int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
		for j, f := range from {
			if i >= f {
				ids[i] += int32(1000 * (j + 1))
			}
		}
	}
	return ids
}

// retired computes a sequence, in blocks of its own if nothing is known of it, and ends it.
func retired(t *testing.T, p *Pool, ids []int32) {
	t.Helper()
	c := New(p, 0)
	feed(t, c, len(ids))
	c.Retire(ids)
	require.Empty(t, c.Blocks())
}

// counts returns the numbers of blocks that are free, in use, and kept.
func counts(p *Pool) [3]int { return [3]int{p.Free() - p.Known(), p.InUse(), p.Known()} }

const b = BlockTokens

func TestSequencesShareTheFullBlocksThatTheyBeginWith(t *testing.T) {
	p := NewPool(8)
	one, two, three := New(p, 0), New(p, 0), New(p, 0)
	ids := sequence(3*b + 5)
	feed(t, one, len(ids))
	one.Know(ids)
	require.Equal(t, [3]int{4, 4, 0}, counts(p))

	other := sequence(3*b+5, 2*b+100)
	require.Equal(t, 2*b, two.Adopt(other, len(other)+1, false))
	require.False(t, two.Long())
	require.Equal(t, one.Blocks()[:2], two.Blocks())
	require.Equal(t, 2*b, feed(t, two, len(other)))
	require.Equal(t, [3]int{2, 6, 0}, counts(p))

	require.Equal(t, 3*b, three.Adopt(ids[:3*b+1], 3*b+2, true), "one uses the block of the rest")
	one.Reset()
	require.Equal(t, [3]int{3, 5, 0}, counts(p), "only its own block is free")
	two.Reset()
	require.Equal(t, [3]int{5, 3, 0}, counts(p))
	three.Reset()
	require.Equal(t, [3]int{5, 0, 3}, counts(p))
	require.Equal(t, 8, p.Free())
	require.Equal(t, 8, p.Blocks())
}

func TestAdoptNeedsTheSameBeginningAndTheSameFactors(t *testing.T) {
	p := NewPool(8)
	c := New(p, 3*b)
	ids := sequence(2*b + 1)
	feed(t, c, len(ids))
	c.Retire(ids)
	require.Equal(t, [3]int{5, 0, 3}, counts(p))

	shifted := append(sequence(b, 0), ids[b:]...)
	for _, takeOver := range []bool{false, true} {
		require.Zero(t, c.Adopt(shifted, len(shifted)+1, takeOver), "the same ids after others")
		require.Zero(t, c.Adopt(ids[b:], len(ids), takeOver), "the same ids elsewhere")
		require.Zero(t, c.Adopt(ids, 3*b+1, takeOver), "of a sequence with the long factors")
		require.True(t, c.Long())
		require.Zero(t, c.Adopt(nil, 1, takeOver))
		require.False(t, c.Long())
	}
	require.Equal(t, [3]int{5, 0, 3}, counts(p), "nothing was lost")
	require.Equal(t, len(ids), c.Adopt(ids, 3*b, false))
}

func TestAdoptTakesOverTheBlockAfterTheFullOnes(t *testing.T) {
	known := sequence(b + 50) // in every case, and more
	for _, c := range []struct {
		name     string
		more     []int32
		ids      []int32
		takeOver bool
		want     int
		counts   [3]int
	}{
		{"all of a tail", nil, sequence(b + 60), false, b + 50, [3]int{6, 2, 0}},
		{"no more than ids", nil, sequence(b + 50), false, b + 50, [3]int{6, 2, 0}},
		{"part of a tail", nil, sequence(b+60, b+40), true, b + 40, [3]int{6, 2, 0}},
		{"not part of a tail", nil, sequence(b+60, b+40), false, b, [3]int{6, 1, 1}},
		{"part of a tail that is longer", nil, sequence(b + 20), true, b + 20, [3]int{6, 2, 0}},
		{"not of a tail that is longer", nil, sequence(b + 20), false, b, [3]int{6, 1, 1}},
		{"part of the first block", nil, sequence(2*b, 7), true, 7, [3]int{7, 1, 0}},
		{"no id in common", nil, sequence(b, 0), true, 0, [3]int{6, 0, 2}},
		{"the longer of two tails", sequence(b + 60), sequence(b + 70), false, b + 60, [3]int{5, 2, 1}},
		{
			"the tail that goes on as the text", sequence(b+60, b+40), sequence(b+70, b+40), false, b + 60,
			[3]int{5, 2, 1},
		},
		{
			"part of a tail, not all of a shorter one", sequence(b + 60), sequence(b+70, b+55), true, b + 55,
			[3]int{5, 2, 1},
		},
		{
			"of equals, what has less to lose", sequence(3*b + 1), sequence(b+70, b+50), true, b + 50,
			[3]int{3, 2, 3},
		},
		{
			"part of a full block", sequence(3*b+1, b+20), sequence(b+70, b+20, b+60), true, b + 60,
			[3]int{5, 2, 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPool(8)
			cache := New(p, 0)
			retired(t, p, known)
			if c.more != nil {
				retired(t, p, c.more)
			}
			require.Equal(t, c.want, cache.Adopt(c.ids, len(c.ids)+1, c.takeOver))
			require.Equal(t, c.want, cache.Len())
			require.Equal(t, c.counts, counts(p))
			require.Equal(t, c.want, feed(t, cache, len(c.ids)+1), "the block belongs to the cache")
		})
	}
}

func TestRetireUndoesAdopt(t *testing.T) {
	p := NewPool(4)
	ids := sequence(2*b + 50)
	retired(t, p, ids)
	c := New(p, 0)
	for range 3 {
		require.Equal(t, 2*b+50, c.Adopt(sequence(3*b), 3*b+1, false))
		c.Retire(sequence(3 * b))
		require.Equal(t, [3]int{1, 0, 3}, counts(p))
	}
}

func TestPrepareTakesWhatWasUsedLeastRecently(t *testing.T) {
	p := NewPool(6)
	first, second := sequence(2*b+10), sequence(2*b+10, 0)
	retired(t, p, first)
	retired(t, p, second)
	require.Equal(t, [3]int{0, 0, 6}, counts(p))
	c := New(p, 0)
	require.Equal(t, 2*b, c.Adopt(first[:2*b+5], len(first), false))
	c.Reset() // the full blocks of the first sequence were used last, its tail least recently
	_, err := c.Prepare(3 * b)
	require.NoError(t, err)
	require.Equal(t, []int32{2, 5, 4}, c.Blocks(), "the tail, then the end of the other sequence")
	d := New(p, 0)
	require.Equal(t, 2*b, d.Adopt(first, len(first)+1, false))
	d.Reset()
	require.Equal(t, b-1, d.Adopt(second[:b-1], b, true), "its beginning goes last")

	_, err = c.Prepare(6 * b)
	require.ErrorContains(t, err, "768 tokens")
	require.Equal(t, [3]int{0, 4, 2}, counts(p), "a failed Prepare loses nothing that is known")
	_, err = c.Prepare(5 * b)
	require.NoError(t, err)
	require.Equal(t, []int32{2, 5, 4, 1, 0}, c.Blocks())
	c.Reset()
	retired(t, p, sequence(b))
	require.Equal(t, [3]int{4, 1, 1}, counts(p), "free blocks come first")
}

func TestTheLowestFreeBlockIsTaken(t *testing.T) {
	p := NewPool(200)
	caches := make([]*Cache, 200)
	for i := range caches {
		caches[i] = New(p, 0)
		feed(t, caches[i], 1)
		require.Equal(t, []int32{int32(i)}, caches[i].Blocks())
	}
	for _, i := range []int{150, 63, 199, 64, 128} {
		caches[i].Reset()
	}
	c := New(p, 0)
	feed(t, c, 5*b)
	require.Equal(t, []int32{63, 64, 128, 150, 199}, c.Blocks())
}

func TestTruncateInAKnownBlock(t *testing.T) {
	ids := sequence(3*b + 5)
	p := NewPool(8)
	one, two := New(p, 0), New(p, 0)
	feed(t, one, len(ids))
	one.Know(ids)
	two.Adopt(ids[:2*b+5], 2*b+6, false)

	one.Truncate(2*b + 10)
	require.Equal(t, 2*b+10, one.Len(), "no other cache uses the third block")
	require.Equal(t, 2*b+10, feed(t, one, 3*b))
	one.Know(sequence(3*b, 2*b+10))

	one.Truncate(b + 10)
	require.Equal(t, b, one.Len(), "two uses the second block")
	require.Len(t, one.Blocks(), 1)
	require.Equal(t, [3]int{5, 2, 1}, counts(p), "what one computed is still known")
	two.Truncate(b + 10)
	require.Equal(t, b+10, two.Len(), "nobody else uses it now")
	require.Equal(t, [3]int{6, 2, 0}, counts(p), "and what came after it cannot be found")
	require.Equal(t, b+10, feed(t, two, b+20))
	one.Reset()
	require.Equal(t, b, one.Adopt(ids, len(ids)+1, true))
}

func TestTruncateAtTheEndOfAKnownBlockKeepsIt(t *testing.T) {
	p := NewPool(4)
	c := New(p, 0)
	ids := sequence(2*b + 5)
	feed(t, c, len(ids))
	c.Know(ids)
	c.Truncate(2 * b)
	require.Equal(t, [3]int{2, 2, 0}, counts(p))
	c.Truncate(b)
	require.Equal(t, [3]int{2, 1, 1}, counts(p))
	c.Reset()
	require.Equal(t, 2*b, c.Adopt(ids, len(ids)+1, false))
}

func TestCrossingLeavesKnownBlocksAlone(t *testing.T) {
	p := NewPool(6)
	one, two := New(p, 2*b+5), New(p, 2*b+5)
	ids := sequence(2*b + 6)
	feed(t, one, 2*b+5)
	one.Know(ids[:2*b+5])
	require.Equal(t, 2*b, two.Adopt(ids[:2*b+4], 2*b+5, false))

	require.Equal(t, 0, feed(t, one, 2*b+6))
	require.Equal(t, []int32{2, 3, 4}, one.Blocks(), "its own block stays")
	require.Equal(t, []int32{0, 1}, two.Blocks())
	one.Know(ids)
	require.True(t, one.Long())
	_, err := two.Prepare(2*b + 6)
	require.NoError(t, err, "the blocks that nobody uses now are taken")
	require.Equal(t, []int32{5, 1, 0}, two.Blocks())
	two.Reset()
	require.Equal(t, 2*b, two.Adopt(ids, 2*b+7, false), "of the long factors")
	two.Reset()
	require.Zero(t, two.Adopt(ids, 2*b+5, false))
}

func TestSequencesThatComputeTheSameEndWithOneBlock(t *testing.T) {
	p := NewPool(6)
	one, two, three := New(p, 0), New(p, 0), New(p, 0)
	ids := sequence(b + 5)
	for _, c := range []*Cache{one, two, three} {
		feed(t, c, len(ids))
	}
	for _, c := range []*Cache{one, two, three} {
		c.Know(ids)
	}
	require.Equal(t, []int32{0, 1}, one.Blocks())
	require.Equal(t, []int32{0, 3}, two.Blocks())
	require.Equal(t, []int32{0, 5}, three.Blocks())
	require.Equal(t, [3]int{2, 4, 0}, counts(p))
	one.Retire(ids)
	require.Equal(t, [3]int{2, 3, 1}, counts(p))
	two.Retire(ids)
	require.Equal(t, [3]int{3, 2, 1}, counts(p), "an equal tail is not kept")
	three.Retire(ids[:b+4])
	require.Equal(t, [3]int{4, 0, 2}, counts(p), "nor one with which another tail begins")
	retired(t, p, sequence(b+6))
	require.Equal(t, [3]int{3, 0, 3}, counts(p), "a longer one is")
}

func TestKnowAndRetireMayGetFewerIDs(t *testing.T) {
	p := NewPool(4)
	c := New(p, 0)
	ids := sequence(3*b - 1)
	feed(t, c, len(ids))
	c.Know(ids[:b-1])
	require.Zero(t, c.known)
	c.Know(ids[:2*b])
	require.Equal(t, 2, c.known)
	c.Know(nil)
	c.Retire(ids[:b+3])
	require.Equal(t, [3]int{2, 0, 2}, counts(p), "what is known stays")
	require.Equal(t, 2*b, c.Adopt(ids, len(ids)+1, true))
}

func TestNobodyWritesAKnownBlock(t *testing.T) {
	p := NewPool(4)
	c, d := New(p, 0), New(p, 0)
	ids := sequence(b)
	requirePanic := func(bug *Cache) {
		bug.length = b - 1
		require.PanicsWithValue(t, "kvcache: advance of 1 from 127 into block 0, which others may see",
			func() { bug.Advance(1) })
		bug.Advance(0)
		bug.length = b
		require.Panics(t, func() { bug.Advance(1) }, "no room")
	}
	feed(t, c, b)
	c.Know(ids)
	requirePanic(c)
	d.Adopt(ids, b+1, false)
	requirePanic(d)
	require.Panics(t, func() { c.Adopt(ids, b+1, false) }, "it is not empty")
}

func TestAStepWithoutAFullBlockAllocatesNothing(t *testing.T) {
	p := NewPool(4)
	c := New(p, 0)
	ids := sequence(2*b + 120)
	c.Retire(nil)
	feed(t, c, 2*b+10)
	c.Know(ids)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, err := c.Prepare(c.Len() + 1)
		require.NoError(t, err)
		c.Advance(1)
		c.Know(ids)
	}))
	require.Equal(t, 2*b+111, c.Len())
	require.True(t, slices.IsSorted(c.Blocks()))
}
