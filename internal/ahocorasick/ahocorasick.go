// Package ahocorasick finds many patterns in one pass over the bytes of a text. The time does not depend on
// the patterns.
//
// The automaton of Aho and Corasick has a node for every beginning of a pattern. After some bytes of a text,
// its state is the node of the longest beginning that these bytes end with.
package ahocorasick

import (
	"cmp"
	"slices"
	"sort"
)

// Automaton is built once from all patterns. It takes about 30 bytes of memory for each byte of a pattern.
// A state is an index of a node; 0, the empty beginning, is the state before a text.
type Automaton struct {
	// a node's children lie together, in the order of their bytes
	nodes   []node
	root    [256]int32 // children of node 0; 0 where there is none
	longest int        // bytes of the longest pattern
}

type node struct {
	child   int32  // the first child
	fail    int32  // the node of the longest end of this beginning that is a beginning too
	pattern int32  // the longest pattern that ends here; -1: none
	depth   int32  // bytes
	n       uint16 // children
	c       byte   // the last byte
}

// New takes patterns, none of them empty. Of two equal ones the first is found.
func New(patterns []string) *Automaton {
	m := &Automaton{}
	order := make([]int32, len(patterns)) // patterns in alphabetical order
	for i, p := range patterns {
		order[i] = int32(i)
		m.longest = max(m.longest, len(p))
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
	m.nodes = make([]node, 1, count)
	m.nodes[0].pattern = -1
	type span struct{ from, to int32 } // of order: the patterns that begin as the node says
	spans := make([]span, 1, count)
	spans[0] = span{0, int32(len(order))}
	for at := int32(0); int(at) < len(m.nodes); at++ {
		depth, s := m.nodes[at].depth, spans[at]
		for s.from < s.to && len(patterns[order[s.from]]) == int(depth) {
			s.from++ // these end here
		}
		m.nodes[at].child = int32(len(m.nodes))
		for s.from < s.to {
			first := patterns[order[s.from]]
			c := first[depth]
			to := s.from +
				int32(sort.Search(int(s.to-s.from),
					func(i int) bool { return patterns[order[s.from+int32(i)]][depth] > c }))
			m.addChild(at, c)
			if len(first) == int(depth)+1 {
				m.nodes[len(m.nodes)-1].pattern = order[s.from]
			}
			spans = append(spans, span{s.from, to})
			s.from = to
		}
	}
	return m
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
func (m *Automaton) addChild(parent int32, c byte) {
	added := node{depth: m.nodes[parent].depth + 1, pattern: -1, c: c}
	if parent != 0 {
		added.fail = m.Step(m.nodes[parent].fail, c)
		added.pattern = m.nodes[added.fail].pattern
	} else {
		m.root[c] = int32(len(m.nodes))
	}
	m.nodes[parent].n++
	m.nodes = append(m.nodes, added)
}

// Longest is the number of bytes of the longest pattern.
func (m *Automaton) Longest() int { return m.longest }

// Pattern is the index of the longest pattern that ends in a state; -1 if none does.
func (m *Automaton) Pattern(state int32) int32 { return m.nodes[state].pattern }

// Depth is how many bytes at the end of the text may be the beginning of a pattern.
func (m *Automaton) Depth(state int32) int { return int(m.nodes[state].depth) }

// Step is the state after one more byte.
func (m *Automaton) Step(state int32, c byte) int32 {
	for state != 0 {
		if child := m.find(state, c); child >= 0 {
			return child
		}
		state = m.nodes[state].fail
	}
	return m.root[c]
}

// find is the child of a node for a byte; -1 if there is none.
func (m *Automaton) find(state int32, c byte) int32 {
	from, to := m.nodes[state].child, m.nodes[state].child+int32(m.nodes[state].n)
	for from < to {
		middle := (from + to) / 2
		switch at := m.nodes[middle].c; {
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
