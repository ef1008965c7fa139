// Package kvcache keeps the books of the KV cache: which positions of a sequence are cached, in which blocks,
// and when cached keys stop being valid. The bytes themselves live in the backend; this package never sees a
// key or a value.
//
// A cache is a list of blocks of [BlockTokens] positions, counted from position 0, taken from a [Pool] that
// all sequences share. It grows without copying and shrinks by giving blocks back. Position p of a sequence
// is row p % BlockTokens of block Blocks()[p / BlockTokens].
package kvcache

import "fmt"

// BlockTokens is the number of positions in a block. It equals the key chunk of attention, so that one chunk
// of keys is always one contiguous piece of memory.
const BlockTokens = 128

// Pool hands out block numbers 0 … blocks-1. The lowest free number goes first, so that a backend which
// allocates a block's memory on first use touches no more than it needs.
type Pool struct {
	used []bool // [blocks]
}

// NewPool makes a pool of the given number of blocks, all free.
func NewPool(blocks int) *Pool { return &Pool{used: make([]bool, blocks)} }

// BlocksFor returns how many blocks hold the given number of tokens.
func BlocksFor(tokens int) int { return (tokens + BlockTokens - 1) / BlockTokens }

// take returns a free block, or an error that names the pool's size in tokens.
func (p *Pool) take() (int32, error) {
	for i, used := range p.used {
		if !used {
			p.used[i] = true
			return int32(i), nil
		}
	}
	return 0, fmt.Errorf("KV cache is full: all %d tokens of it are in use", len(p.used)*BlockTokens)
}

// Cache says what is cached of one sequence. The zero value is not usable; see [New].
type Cache struct {
	pool     *Pool
	blocks   []int32 // block table: positions [i*BlockTokens, (i+1)*BlockTokens) are in block blocks[i]
	length   int     // positions 0 … length-1 are cached
	crossing int     // longest sequence that uses the short RoPE factors; 0: the model has one set of factors
	long     bool    // which factors the cached keys were rotated with
}

// New makes an empty cache that takes its blocks from pool. crossing is original_max_position_embeddings for
// models with long RoPE (spec 3.2) and 0 for all others.
func New(pool *Pool, crossing int) *Cache { return &Cache{pool: pool, crossing: crossing} }

// Len is the number of cached positions.
func (c *Cache) Len() int { return c.length }

// Blocks is the block table, long enough for the total of the last [Cache.Prepare]. It is the cache's own:
// read it, don't keep it.
func (c *Cache) Blocks() []int32 { return c.blocks }

// Long tells which RoPE factors the sequence uses at the length given to the last [Cache.Prepare].
func (c *Cache) Long() bool { return c.long }

// Prepare makes room for a sequence of total tokens and returns how many of its leading positions are cached
// and still valid; the caller must feed the rest, in as many calls as it likes, before it prepares a longer
// total.
//
// Long RoPE picks its factors by the sequence's total length (spec 3.2), and every cached key and value
// depends on that choice. So when total is on the other side of the crossing from the cached keys, all of
// them are dropped and the answer is 0. The error says that the pool is exhausted; the cache then stays as it
// was, apart from such a drop.
func (c *Cache) Prepare(total int) (cached int, err error) {
	if total < c.length {
		return 0, fmt.Errorf("KV cache holds %d tokens, more than the %d asked for: truncate it first",
			c.length, total)
	}
	if long := c.crossing > 0 && total > c.crossing; long != c.long {
		c.length = 0
		c.long = long
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

// Advance records that the backend has written the next n positions.
// It panics beyond the room that Prepare made, which only a bug in this program can ask for.
func (c *Cache) Advance(n int) {
	if n < 0 || c.length+n > len(c.blocks)*BlockTokens {
		panic(fmt.Sprintf("kvcache: advance of %d from %d, with room for %d", n, c.length,
			len(c.blocks)*BlockTokens))
	}
	c.length += n
}

// Truncate forgets all positions from length on and gives back the blocks that only they used.
// Lengths beyond what is cached change nothing.
func (c *Cache) Truncate(length int) {
	c.length = max(0, min(length, c.length))
	c.release(BlocksFor(c.length))
}

// Reset forgets everything and gives all blocks back.
func (c *Cache) Reset() { c.Truncate(0) }

// release gives back all blocks of the table from index keep on.
func (c *Cache) release(keep int) {
	for _, block := range c.blocks[keep:] {
		c.pool.used[block] = false
	}
	c.blocks = c.blocks[:keep]
}
