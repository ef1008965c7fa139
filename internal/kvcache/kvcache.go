// Package kvcache records which positions of a sequence are in the KV cache, in which blocks, and when
// cached keys become invalid. The keys and values themselves are in the backend.
//
// A cache is a list of blocks of [BlockTokens] positions, counted from position 0. Blocks come from a
// [Pool] that all sequences share. A cache grows without copying and shrinks by returning blocks.
// Position p of a sequence is row p % BlockTokens of block Blocks()[p / BlockTokens].
package kvcache

import "fmt"

// BlockTokens is the number of positions in a block. It equals the key chunk of attention, so that a
// chunk of keys is always contiguous in memory.
const BlockTokens = 128

// Pool manages the block numbers 0 … blocks-1. It gives the lowest free number first, so that a backend
// that allocates a block's memory on first use allocates only what it needs.
type Pool struct {
	used []bool // [blocks]
}

// NewPool makes a pool of the given number of blocks, all free.
func NewPool(blocks int) *Pool { return &Pool{used: make([]bool, blocks)} }

// BlocksFor returns how many blocks hold the given number of tokens.
func BlocksFor(tokens int) int { return (tokens + BlockTokens - 1) / BlockTokens }

// take returns a free block. The error gives the size of the pool in tokens.
func (p *Pool) take() (int32, error) {
	for i, used := range p.used {
		if !used {
			p.used[i] = true
			return int32(i), nil
		}
	}
	return 0, fmt.Errorf("KV cache is full: all %d tokens of it are in use", len(p.used)*BlockTokens)
}

// Cache records what is cached of one sequence. The zero value is not usable: see [New].
type Cache struct {
	pool     *Pool
	blocks   []int32 // block table: positions [i*BlockTokens, (i+1)*BlockTokens) are in block blocks[i]
	length   int     // positions 0 … length-1 are cached
	crossing int     // longest sequence with the short RoPE factors; 0: the model has one set of factors
	long     bool    // which factors the cached keys were rotated with
}

// New makes an empty cache that takes its blocks from pool. For a model with long RoPE, crossing is
// original_max_position_embeddings (spec 3.2). For others it is 0.
func New(pool *Pool, crossing int) *Cache { return &Cache{pool: pool, crossing: crossing} }

// Len returns the number of cached positions.
func (c *Cache) Len() int { return c.length }

// Blocks returns the block table. It is long enough for the total of the last [Cache.Prepare]. It belongs
// to the cache: do not change or keep it.
func (c *Cache) Blocks() []int32 { return c.blocks }

// Long reports whether the sequence uses the long RoPE factors at the length of the last [Cache.Prepare].
func (c *Cache) Long() bool { return c.long }

// Crosses reports whether a sequence of total tokens uses other RoPE factors than the cached keys, so that
// [Cache.Prepare] drops them.
func (c *Cache) Crosses(total int) bool { return (c.crossing > 0 && total > c.crossing) != c.long }

// Prepare makes room for a sequence of total tokens. It returns how many of its leading positions are
// cached and still valid. The caller must compute the rest, in any number of calls, before it prepares a
// longer total.
//
// The total length of a sequence decides which factors long RoPE uses (spec 3.2), and every cached key and
// value depends on them. So if total and the cached positions are on different sides of the crossing, Prepare
// drops all positions and returns 0. It returns an error if the pool has too few blocks. The cache is then as
// before, except for such a drop.
func (c *Cache) Prepare(total int) (cached int, err error) {
	if total < c.length {
		return 0, fmt.Errorf("KV cache holds %d tokens, more than the %d asked for: truncate it first",
			c.length, total)
	}
	if c.Crosses(total) {
		c.length = 0
		c.long = !c.long
	}
	for before := len(c.blocks); len(c.blocks) < BlocksFor(total); {
		block, err := c.pool.take()
		if err != nil {
			c.release(before)
			return 0, err
		}
		c.blocks = append(c.blocks, block)
	}
	return c.length, nil
}

// Advance records that the backend has written the next n positions. It panics if Prepare has not made
// room for them, which is a bug in this program.
func (c *Cache) Advance(n int) {
	if n < 0 || c.length+n > len(c.blocks)*BlockTokens {
		panic(fmt.Sprintf("kvcache: advance of %d from %d, with room for %d", n, c.length,
			len(c.blocks)*BlockTokens))
	}
	c.length += n
}

// Truncate forgets all positions from length on and returns the blocks that only they used. A length
// beyond the cached positions changes nothing.
func (c *Cache) Truncate(length int) {
	c.length = max(0, min(length, c.length))
	c.release(BlocksFor(c.length))
}

// Reset forgets everything and returns all blocks.
func (c *Cache) Reset() { c.Truncate(0) }

// release returns all blocks of the table from index keep on.
func (c *Cache) release(keep int) {
	for _, block := range c.blocks[keep:] {
		c.pool.used[block] = false
	}
	c.blocks = c.blocks[:keep]
}
