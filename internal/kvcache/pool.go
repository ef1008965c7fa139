package kvcache

import "math/bits"

// Pool manages the block numbers 0 … blocks-1. Each block is
//   - free,
//   - in use: in the tables of one or more caches, or
//   - kept: known (see [Cache.Know]), and no cache uses it. A later sequence can use its keys and values,
//     until its memory is needed.
//
// A block in use may be known too. Only known blocks are in several tables.
//
// [Cache.Prepare] gets the lowest free number first, so that a backend that allocates a block's memory on
// first use allocates only what it needs. If no block is free, it gets the kept one that was used least
// recently.
//
// A pool and its caches belong to one goroutine.
type Pool struct {
	free  []uint64 // bit i%64 of free[i/64]: block i is free
	frees int      // bits that are set
	uses  []int    // [blocks]: tables that it is in
	index
}

// NewPool makes a pool of the given number of blocks, all free.
func NewPool(blocks int) *Pool {
	p := &Pool{free: make([]uint64, (blocks+63)/64), uses: make([]int, blocks), index: newIndex(blocks)}
	for block := range blocks {
		p.makeFree(int32(block))
	}
	return p
}

// BlocksFor returns how many blocks hold the given number of tokens.
func BlocksFor(tokens int) int { return (tokens + BlockTokens - 1) / BlockTokens }

// Blocks returns the number of blocks of the pool.
func (p *Pool) Blocks() int { return len(p.uses) }

// Free returns how many blocks [Cache.Prepare] can get: those that are free or kept.
func (p *Pool) Free() int { return p.frees + p.kept.Len() }

// InUse returns how many blocks caches use. A block that several caches share counts once.
func (p *Pool) InUse() int { return p.Blocks() - p.Free() }

// Known returns how many blocks are kept: known, and no cache uses them.
func (p *Pool) Known() int { return p.kept.Len() }

func (p *Pool) makeFree(block int32) {
	p.free[block/64] |= 1 << (block % 64)
	p.frees++
}

// take returns a block for one cache. There must be one: see [Pool.Free].
func (p *Pool) take() int32 {
	if p.frees == 0 {
		p.forget(p.kept.Front().Value.(*node))
	}
	word := 0
	for p.free[word] == 0 {
		word++
	}
	bit := bits.TrailingZeros64(p.free[word])
	p.free[word] &^= 1 << bit
	p.frees--
	block := int32(word*64 + bit)
	p.uses[block] = 1
	return block
}

// share puts a known block into one more table.
func (p *Pool) share(n *node) int32 {
	if n.kept != nil {
		p.kept.Remove(n.kept)
		n.kept = nil
	}
	p.uses[n.block]++
	return n.block
}

// drop takes a block out of a table. Of several blocks of a sequence, the last one must go first.
func (p *Pool) drop(block int32) {
	p.uses[block]--
	if p.uses[block] > 0 {
		return
	}
	if n := p.nodes[block]; n != nil {
		n.kept = p.kept.PushBack(n)
	} else {
		p.makeFree(block)
	}
}

// forget makes a block and those after it unknown. Those that no cache uses become free.
func (p *Pool) forget(n *node) {
	for len(n.children) > 0 {
		p.forget(n.children[len(n.children)-1])
	}
	p.remove(n)
	if n.kept != nil {
		p.kept.Remove(n.kept)
		p.makeFree(n.block)
	}
}

// keep makes the last block of a sequence known, which is not full. If there is a block with these ids after
// parent, keep counts this as a use of it instead.
func (p *Pool) keep(parent *node, ids []int32, block int32) {
	n := p.holder(parent, ids)
	switch {
	case n == nil:
		p.add(parent, ids, block)
	case n.kept != nil:
		p.kept.MoveToBack(n.kept)
	}
}
