package tokenizer

import (
	"cmp"
	"slices"
	"sort"
)

// matcher finds many patterns in one pass over the bytes of a text, in time that does not depend on the
// patterns: Aho and Corasick's automaton. A node stands for a beginning of a pattern; the state after some
// bytes is the node of the longest end of them that is one.
//
// It is built once from all patterns and takes about 30 bytes of memory for each of theirs.
type matcher struct {
	// 0 is the empty beginning; a node's children lie together, in the order of their bytes
	nodes   []matchNode
	root    [256]int32 // children of node 0; 0 where there is none
	longest int        // bytes of the longest pattern
}

type matchNode struct {
	child   int32  // the first child
	fail    int32  // the node of the longest end of this beginning that is a beginning too
	pattern int32  // the longest pattern that ends here; -1: none
	depth   int32  // bytes
	n       uint16 // children
	c       byte   // the last byte
}

// newMatcher builds the automaton. No pattern may be empty; of two equal ones the first is found.
func newMatcher(patterns []string) *matcher {
	m := &matcher{}
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
	m.nodes = make([]matchNode, 1, count)
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

// addChild appends a node. Nodes come in the order of their depth, so the node to fail to is complete.
func (m *matcher) addChild(parent int32, c byte) {
	node := matchNode{depth: m.nodes[parent].depth + 1, pattern: -1, c: c}
	if parent != 0 {
		node.fail = m.step(m.nodes[parent].fail, c)
		node.pattern = m.nodes[node.fail].pattern
	} else {
		m.root[c] = int32(len(m.nodes))
	}
	m.nodes[parent].n++
	m.nodes = append(m.nodes, node)
}

// step is the state after one more byte.
func (m *matcher) step(state int32, c byte) int32 {
	for state != 0 {
		if child := m.find(state, c); child >= 0 {
			return child
		}
		state = m.nodes[state].fail
	}
	return m.root[c]
}

// find returns the child of a node for a byte; -1 if there is none.
func (m *matcher) find(state int32, c byte) int32 {
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
