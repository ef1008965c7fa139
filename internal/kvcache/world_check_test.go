package kvcache

import "github.com/stretchr/testify/require"

// check checks everything that must be true between two operations.
func (w *world) check() {
	t, p := w.t, w.pool
	uses := make([]int, p.Blocks())
	for i, c := range w.caches {
		require.LessOrEqual(t, c.Len(), len(c.Blocks())*BlockTokens)
		for at, n := range w.numbers(c.Long(), w.texts[i][:c.Len()]) {
			if got := w.cells[c.Blocks()[at/BlockTokens]][at%BlockTokens]; got != n {
				require.Equal(t, n, got, "cache %d sees other keys at %d", i, at)
			}
		}
		for at, block := range c.Blocks() {
			uses[block]++
			w.used[block] = w.now
			require.Equal(t, at < c.known, p.nodes[block] != nil)
		}
	}
	require.Equal(t, uses, p.uses)

	known := map[int]*node{}
	for i := range p.roots {
		w.subtree(&p.roots[i], -1-i, known)
	}
	full := 0
	for _, n := range known {
		if n.len == BlockTokens {
			full++
		}
	}
	require.Len(t, p.full, full)

	free, inUse, nodes := 0, 0, 0
	for block, n := range p.nodes {
		isFree := p.free[block/64]>>(block%64)&1 == 1
		require.Equal(t, uses[block] == 0 && n == nil, isFree, "block %d", block)
		if n != nil {
			nodes++
			require.Equal(t, uses[block] == 0, n.kept != nil)
		} else {
			require.LessOrEqual(t, uses[block], 1, "only known blocks are shared")
		}
		if isFree {
			free++
		}
		if uses[block] > 0 {
			inUse++
		}
	}
	require.Len(t, known, nodes, "every node is reached from a root")
	require.Equal(t, inUse, p.InUse())
	require.Equal(t, free+p.Known(), p.Free())
	require.Equal(t, p.Blocks(), p.InUse()+p.Free())

	last, older := 0, map[*node]bool{}
	for _, n := range w.kept() {
		require.Zero(t, uses[n.block])
		require.LessOrEqual(t, last, w.used[n.block], "the list is in the order of the last use")
		last = w.used[n.block]
		for _, child := range n.children {
			require.True(t, older[child], "a block goes after those that follow it")
		}
		older[n] = true
	}
	require.Len(t, older, p.Known())
}

// subtree checks the nodes after n and adds them to known by the numbers of their last ids. The ids on the
// path to n have the given number.
func (w *world) subtree(n *node, number int, known map[int]*node) {
	for i, child := range n.children {
		require.Same(w.t, n, child.parent)
		require.Equal(w.t, i, child.at)
		require.Same(w.t, child, w.pool.nodes[child.block])
		numbers := w.after(number, child.known())
		require.Equal(w.t, numbers, w.cells[child.block][:child.len], "a known block was written")
		if child.len == BlockTokens {
			require.Same(w.t, child, w.pool.find(n, child.known()))
		} else {
			require.Empty(w.t, child.children)
		}
		last := numbers[child.len-1]
		require.Nil(w.t, known[last], "two known blocks are equal")
		known[last] = child
		w.subtree(child, last, known)
	}
}
