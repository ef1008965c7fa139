// Package kvcache records which positions of a sequence are in the KV cache, in which blocks, when cached
// keys become invalid, and which blocks a new sequence can use because an earlier one began with the same
// ids. The keys and values themselves are in the backend.
//
// A cache is a list of blocks of [BlockTokens] positions, counted from position 0. Blocks come from a
// [Pool] that all sequences share. A cache grows without copying and shrinks by returning blocks.
// Position p of a sequence is row p % BlockTokens of block Blocks()[p / BlockTokens].
//
// Sequences that begin with the same ids can share blocks. [Cache.Know] makes the full blocks of a sequence
// known under their ids. [Cache.Adopt] begins a sequence with known blocks. [Cache.Retire] ends a sequence
// and keeps its blocks until their memory is needed. This changes no bit of a result: the keys and values of
// a position depend only on the ids up to it and on the RoPE factors, and nothing writes a block that is
// known or shared. A caller that uses none of the three gets blocks of its own.
package kvcache

import (
	"fmt"
	"slices"
)

// BlockTokens is the number of positions in a block. It equals the key chunk of attention, so that a
// chunk of keys is always contiguous in memory.
const BlockTokens = 128

// Cache records what is cached of one sequence. The zero value is not usable: see [New].
type Cache struct {
	pool     *Pool
	blocks   []int32 // block table: positions [i*BlockTokens, (i+1)*BlockTokens) are in block blocks[i]
	known    int     // the first blocks of the table are known, the others are this cache's own
	length   int     // positions 0 … length-1 are cached, known*BlockTokens or more
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

// Long reports whether the sequence uses the long RoPE factors at the length of the last [Cache.Prepare] or
// [Cache.Adopt].
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
		c.long = !c.long
		c.length = 0
		for ; c.known > 0; c.known-- { // the new keys must not go into known blocks
			c.pool.drop(c.blocks[c.known-1])
			c.blocks = slices.Delete(c.blocks, c.known-1, c.known)
		}
	}
	if BlocksFor(total)-len(c.blocks) > c.pool.Free() {
		return 0, fmt.Errorf("KV cache is full: all %d tokens of it are in use", c.pool.Blocks()*BlockTokens)
	}
	for len(c.blocks) < BlocksFor(total) {
		c.blocks = append(c.blocks, c.pool.take())
	}
	return c.length, nil
}

// Advance records that the backend has written the next n positions. It panics if Prepare has not made
// room for them, or if others may see the block that they are in. Both are bugs in this program.
func (c *Cache) Advance(n int) {
	if n < 0 || c.length+n > len(c.blocks)*BlockTokens {
		panic(fmt.Sprintf("kvcache: advance of %d from %d, with room for %d", n, c.length,
			len(c.blocks)*BlockTokens))
	}
	for _, block := range c.blocks[c.length/BlockTokens : BlocksFor(c.length+n)] {
		if n > 0 && (c.pool.uses[block] > 1 || c.pool.nodes[block] != nil) {
			panic(fmt.Sprintf("kvcache: advance of %d from %d into block %d, which others may see", n,
				c.length, block))
		}
	}
	c.length += n
}

// Truncate forgets all positions from length on and returns the blocks that only they used. A length
// beyond the cached positions changes nothing.
//
// If length is in the middle of a known block, the next positions would be written into it. So the block
// becomes unknown. If other caches use it too, Truncate forgets all of its positions instead: [Cache.Len] and
// Prepare return the length that is left.
func (c *Cache) Truncate(length int) {
	length = max(0, min(length, c.length))
	c.known = min(c.known, length/BlockTokens)
	if length > c.known*BlockTokens && c.pool.uses[c.blocks[c.known]] > 1 {
		length = c.known * BlockTokens
	}
	c.length = length
	for keep := BlocksFor(length); len(c.blocks) > keep; {
		last := len(c.blocks) - 1
		c.pool.drop(c.blocks[last])
		c.blocks = c.blocks[:last]
	}
	if length > c.known*BlockTokens {
		if n := c.pool.nodes[c.blocks[c.known]]; n != nil {
			c.pool.forget(n)
		}
	}
}

// Reset forgets everything and returns all blocks.
func (c *Cache) Reset() { c.Truncate(0) }

// lastKnown returns the node of the last known block or, if there is none, the root.
func (c *Cache) lastKnown() *node {
	switch {
	case c.known > 0:
		return c.pool.nodes[c.blocks[c.known-1]]
	case c.long:
		return &c.pool.roots[1]
	}
	return &c.pool.roots[0]
}

// Adopt begins a sequence of total tokens with the blocks that are known for its first ids, and returns how
// many positions are cached now. These are at most len(ids). The cache must be empty and without blocks.
// Adopt takes no block from others and gets no free one: [Cache.Prepare] must follow.
//
// Full blocks are shared. If no cache uses the block after them, Adopt takes it over if all its ids are the
// next ones. With takeOver, Adopt also takes over a block of which only the first ids are the next ones: the
// one with the most. A block that is taken over is no longer known and belongs to this cache, and the blocks
// known after it are lost. To undo an Adopt, call [Cache.Retire] with the same ids.
func (c *Cache) Adopt(ids []int32, total int, takeOver bool) (cached int) {
	if len(c.blocks) > 0 {
		panic(fmt.Sprintf("kvcache: adopt in a cache with %d blocks", len(c.blocks)))
	}
	c.long = c.crossing > 0 && total > c.crossing
	for ; len(ids)-c.length >= BlockTokens; c.length += BlockTokens {
		n := c.pool.find(c.lastKnown(), ids[c.length:])
		if n == nil {
			break
		}
		c.blocks = append(c.blocks, c.pool.share(n))
		c.known++
	}
	if n, length := c.pool.longest(c.lastKnown(), ids[c.length:], takeOver); n != nil {
		c.blocks = append(c.blocks, c.pool.share(n))
		c.pool.forget(n)
		c.length += length
	}
	return c.length
}

// Know makes the full blocks of the cached positions known under ids, the first ids of the sequence. ids may
// be shorter or longer than the cached positions. The steps that compute these positions must have
// succeeded. Know costs next to nothing if no block has become full since the last call.
//
// If another sequence has computed the same block, which is then known already, this cache uses that one from
// now on and returns its own.
func (c *Cache) Know(ids []int32) {
	for full := min(len(ids), c.length) / BlockTokens; c.known < full; c.known++ {
		parent, block := c.lastKnown(), c.blocks[c.known]
		ids := ids[c.known*BlockTokens:][:BlockTokens]
		if n := c.pool.find(parent, ids); n != nil {
			c.blocks[c.known] = c.pool.share(n)
			c.pool.drop(block)
		} else {
			c.pool.add(parent, ids, block)
		}
	}
}

// Retire ends a sequence: as [Cache.Know], but the last block becomes known even if it is not full, unless a
// known block already has its ids. Then the cache returns all blocks. The known ones are kept until their
// memory is needed.
func (c *Cache) Retire(ids []int32) {
	c.Know(ids)
	if from, end := c.known*BlockTokens, min(len(ids), c.length); from < end {
		c.pool.keep(c.lastKnown(), ids[from:end], c.blocks[c.known])
	}
	c.Reset()
}
