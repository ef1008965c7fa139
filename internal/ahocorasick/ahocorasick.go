// Package ahocorasick finds many patterns in one pass over the bytes of a text. The time does not depend on
// the number or the length of the patterns.
//
// The automaton of Aho and Corasick has a node for every prefix of a pattern. Its state after some bytes of a
// text is the node of the longest prefix that these bytes end with.
package ahocorasick

import (
	"cmp"
	"slices"
	"sort"
)

// Automaton finds patterns. It takes about 30 bytes of memory for each byte of a pattern. A state is the
// index of a node; the state before a text is 0, the node of the empty prefix.
type Automaton struct {
	// the children of a node are neighbours, sorted by their bytes
	nodes   []node
	root    [256]int32 // children of node 0; 0: none
	longest int        // bytes of the longest pattern
}

type node struct {
	child   int32  // the first child
	fail    int32  // the node of the longest suffix of this prefix that is a prefix of a pattern too
	pattern int32  // the longest pattern that is a suffix of this prefix; -1: none
	depth   int32  // bytes of this prefix
	n       uint16 // number of children
	c       byte   // the last byte of this prefix
}

// New builds the automaton of the given patterns. None may be empty. If two are equal, Pattern returns the
// first.
func New(patterns []string) *Automaton {
	a := &Automaton{}
	order := make([]int32, len(patterns)) // patterns in alphabetical order
	for i, p := range patterns {
		order[i] = int32(i)
		a.longest = max(a.longest, len(p))
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(patterns[a], patterns[b]) })
	count := 1
	for i, at := range order {
		shared := 0
		if i > 0 {
			shared = commonPrefix(patterns[order[i-1]], patterns[at])
		}
		count += len(patterns[at]) - shared
	}
	a.nodes = make([]node, 1, count)
	a.nodes[0].pattern = -1
	type span struct{ from, to int32 } // of order: the patterns that begin with the node's prefix
	spans := make([]span, 1, count)
	spans[0] = span{0, int32(len(order))}
	for at := int32(0); int(at) < len(a.nodes); at++ {
		depth, s := a.nodes[at].depth, spans[at]
		for s.from < s.to && len(patterns[order[s.from]]) == int(depth) {
			s.from++ // these end here
		}
		a.nodes[at].child = int32(len(a.nodes))
		for s.from < s.to {
			first := patterns[order[s.from]]
			c := first[depth]
			to := s.from +
				int32(sort.Search(int(s.to-s.from),
					func(i int) bool { return patterns[order[s.from+int32(i)]][depth] > c }))
			a.addChild(at, c)
			if len(first) == int(depth)+1 {
				a.nodes[len(a.nodes)-1].pattern = order[s.from]
			}
			spans = append(spans, span{s.from, to})
			s.from = to
		}
	}
	return a
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// addChild appends a node. Nodes are appended in the order of their depth, so the node to fail to is
// complete.
func (a *Automaton) addChild(parent int32, c byte) {
	added := node{depth: a.nodes[parent].depth + 1, pattern: -1, c: c}
	if parent != 0 {
		added.fail = a.Step(a.nodes[parent].fail, c)
		added.pattern = a.nodes[added.fail].pattern
	} else {
		a.root[c] = int32(len(a.nodes))
	}
	a.nodes[parent].n++
	a.nodes = append(a.nodes, added)
}

// Longest returns the length of the longest pattern in bytes.
func (a *Automaton) Longest() int { return a.longest }

// Pattern returns the index of the longest pattern that the text ends with, in the given state, or -1 if
// there is none.
func (a *Automaton) Pattern(state int32) int32 { return a.nodes[state].pattern }

// Depth returns the length in bytes of the longest prefix of a pattern that the text ends with, in the given
// state.
func (a *Automaton) Depth(state int32) int { return int(a.nodes[state].depth) }

// Step returns the state after one more byte.
func (a *Automaton) Step(state int32, c byte) int32 {
	for state != 0 {
		if child := a.find(state, c); child >= 0 {
			return child
		}
		state = a.nodes[state].fail
	}
	return a.root[c]
}

// find is the child of a node for a byte; -1 if there is none.
func (a *Automaton) find(state int32, c byte) int32 {
	from, to := a.nodes[state].child, a.nodes[state].child+int32(a.nodes[state].n)
	for from < to {
		middle := (from + to) / 2
		switch at := a.nodes[middle].c; {
		case at == c:
			return middle
		case at < c:
			from = middle + 1
		default:
			to = middle
		}
	}
	return -1
}
