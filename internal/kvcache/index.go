package kvcache

import (
	"container/list"
	"slices"
)

// index finds the known blocks. They form a tree: the path from a root to a node has the ids of a sequence
// from position 0 on. Keys and values depend on all ids before them, so blocks with the same ids but other
// paths are different nodes.
//
// A cache that uses a known block also uses all nodes on the path to it: [Cache.Know] sees to that. Two rules
// follow. If no cache uses a block, no cache uses those after it. And in the list of kept blocks, a block
// comes after all its children, because it goes out of use with the last of them or later.
type index struct {
	roots [2]node       // of sequences with the short and the long RoPE factors
	full  map[key]*node // all nodes with BlockTokens ids
	nodes []*node       // [blocks]: the node of a known block, otherwise nil
	kept  *list.List    // of *node: the known blocks that no cache uses, in the order of their last use
}

// key is what the keys and values of a full block depend on. The map compares the ids too, so a hash
// collision does not make two blocks the same.
type key struct {
	parent *node
	ids    [BlockTokens]int32
}

// node is a known block.
type node struct {
	key
	len      int // number of ids. Fewer than BlockTokens: the rest of the block is unspecified
	block    int32
	children []*node
	at       int           // its index in parent.children
	kept     *list.Element // in index.kept, or nil if a cache uses the block
}

func newIndex(blocks int) index {
	return index{full: map[key]*node{}, nodes: make([]*node, blocks), kept: list.New()}
}

// known returns the ids of a node.
func (n *node) known() []int32 { return n.ids[:n.len] }

// find returns the full block after parent that has the first BlockTokens of ids, or nil.
func (x *index) find(parent *node, ids []int32) *node {
	return x.full[key{parent, [BlockTokens]int32(ids)}]
}

// add makes a block known: after parent, with up to BlockTokens ids.
func (x *index) add(parent *node, ids []int32, block int32) {
	n := &node{key: key{parent: parent}, len: len(ids), block: block, at: len(parent.children)}
	copy(n.ids[:], ids)
	parent.children = append(parent.children, n)
	if n.len == BlockTokens {
		x.full[n.key] = n
	}
	x.nodes[block] = n
}

// remove is the opposite of add, for a node without children.
func (x *index) remove(n *node) {
	siblings := n.parent.children
	last := siblings[len(siblings)-1]
	siblings[n.at], last.at = last, n.at
	siblings[len(siblings)-1] = nil
	n.parent.children = siblings[:len(siblings)-1]
	if n.len == BlockTokens {
		delete(x.full, n.key)
	}
	x.nodes[n.block] = nil
}

// holder returns a node after parent whose ids begin with the given ones, or nil.
func (x *index) holder(parent *node, ids []int32) *node {
	last := len(ids) - 1 // many texts of a server begin in the same way: the last id differs soonest
	for _, n := range parent.children {
		if n.len > last && n.ids[last] == ids[last] && slices.Equal(n.ids[:last], ids[:last]) {
			return n
		}
	}
	return nil
}

// longest returns the kept node after parent that has the longest common beginning with ids, and the length
// of that. Of equals, it prefers a node with fewer ids. Without part, all ids of the node must be common.
func (x *index) longest(parent *node, ids []int32, part bool) (best *node, length int) {
	for _, n := range parent.children {
		if n.kept == nil || !part && (n.len > len(ids) || n.ids[n.len-1] != ids[n.len-1]) {
			continue
		}
		common := 0
		for common < min(n.len, len(ids)) && n.ids[common] == ids[common] {
			common++
		}
		switch {
		case common == 0 || common < n.len && !part:
		case common > length || common == length && n.len < best.len:
			best, length = n, common
		}
	}
	return best, length
}
