package kvcache

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// feed prepares a total and advances to it, as a forward pass does. It returns how many positions stayed
// cached.
func feed(t *testing.T, c *Cache, total int) int {
	t.Helper()
	cached, err := c.Prepare(total)
	require.NoError(t, err)
	c.Advance(total - cached)
	require.Equal(t, total, c.Len())
	require.Len(t, c.Blocks(), BlocksFor(total))
	return cached
}

func TestGrowsWithoutMovingBlocks(t *testing.T) {
	c := New(NewPool(4), 0)
	require.Equal(t, 0, feed(t, c, 5))
	first := slices.Clone(c.Blocks())
	require.Equal(t, 5, feed(t, c, BlockTokens))
	require.Equal(t, first, c.Blocks(), "a full block needs no second one")
	require.Equal(t, BlockTokens, feed(t, c, BlockTokens+1))
	require.Equal(t, first[0], c.Blocks()[0])
}

func TestPoolIsSharedAndReturned(t *testing.T) {
	pool := NewPool(3)
	a, b := New(pool, 0), New(pool, 0)
	feed(t, a, 2*BlockTokens)
	feed(t, b, 10)
	require.NotContains(t, a.Blocks(), b.Blocks()[0])

	_, err := b.Prepare(BlockTokens + 1)
	require.ErrorContains(t, err, "384 tokens")
	require.Equal(t, 10, b.Len(), "a failed Prepare loses nothing")
	require.Len(t, b.Blocks(), 1)

	a.Truncate(BlockTokens)
	feed(t, b, BlockTokens+1)
	a.Reset()
	b.Reset()
	feed(t, New(pool, 0), 3*BlockTokens)
}

func TestFailedPrepareGivesBackWhatItTook(t *testing.T) {
	pool := NewPool(3)
	a, b := New(pool, 0), New(pool, 0)
	_, err := a.Prepare(4 * BlockTokens)
	require.Error(t, err)
	feed(t, b, 3*BlockTokens)
}

func TestCrossingDropsEverythingOnce(t *testing.T) {
	c := New(NewPool(4), 32)
	feed(t, c, 32)
	require.False(t, c.Long(), "32 tokens still use the short factors")
	require.Equal(t, 0, feed(t, c, 33), "33 tokens use the long ones: nothing cached is valid")
	require.True(t, c.Long())
	require.Equal(t, 33, feed(t, c, 34), "only the crossing itself drops the cache")

	c.Truncate(10)
	require.Equal(t, 0, feed(t, c, 11), "back under the crossing: recompute with the short factors")
	require.False(t, c.Long())
}

func TestChunksOfALongPromptDecideByTheTotal(t *testing.T) {
	c := New(NewPool(4), 32)
	cached, err := c.Prepare(100)
	require.NoError(t, err)
	require.Equal(t, 0, cached)
	require.True(t, c.Long(), "before the first chunk is fed")
	c.Advance(16)
	cached, err = c.Prepare(100)
	require.NoError(t, err)
	require.Equal(t, 16, cached, "the second chunk keeps the first")
}

func TestPrepareBelowTheCachedLengthIsAnError(t *testing.T) {
	c := New(NewPool(1), 0)
	feed(t, c, 8)
	_, err := c.Prepare(7)
	require.ErrorContains(t, err, "truncate")
}
