package tokenizer

import (
	"context"
	"strings"
	"unicode/utf8"
)

// merge is the result of merging two neighbouring symbols, and its rank: rank 0 was learnt first and is
// applied first.
type merge struct {
	rank, id int32
}

// bpe is the byte-pair-encoding model: it turns one word into token ids. It is read-only after Load.
//
// A word starts as symbols (characters, or bytes) and the pair with the lowest rank, leftmost among equals,
// is merged until no pair is left that the merge table knows (spec 5.1, item 4).
type bpe struct {
	vocab  vocabulary
	merges map[uint64]merge // left id << 32 | right id
	byteID [256]int32       // byte-level: the id of each byte; SentencePiece: the id of <0x00> ... <0xFF>

	longest      int  // the bytes of text that the longest piece stands for
	byteLevel    bool // symbols are bytes; otherwise characters, with bytes for those outside the vocabulary
	ignoreMerges bool // byte-level: a word that is a token as a whole is not merged at all

	// joinable[a][b] is false where no merge can ever join a character of class a to a following one of class
	// b. See splitSafely. Only the SentencePiece kind uses it.
	joinable [classes][classes]bool
	neverCut bool // a merge involves a byte token, so character classes prove nothing
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// Character classes of splitSafely: ASCII one by one, the word mark "▁", and all others hashed into the rest.
const (
	spaceMark = '▁'
	classes   = 256
)

func class(r rune) uint8 {
	switch {
	case r < 0x80:
		return uint8(r)
	case r == spaceMark:
		return 0x80
	}
	return uint8(0x81 + r%(classes-0x81))
}

// noteJoined enters a merge result into joinable: two neighbouring characters can end up in one token only if
// some merge result holds them side by side.
func (b *bpe) noteJoined(result []byte) {
	last := -1
	for len(result) > 0 {
		r, size := utf8.DecodeRune(result)
		c := int(class(r))
		if last >= 0 {
			b.joinable[last][c] = true
		}
		last = c
		result = result[size:]
	}
}

// splitSafely returns the length in bytes of the first part of s that can be encoded on its own with the same
// result.
//
// The SentencePiece kind has no pre-tokenizer: a whole segment, a megabyte perhaps, is one BPE word. But a
// merge reaches over the boundary between two characters only if its result contains these two side by side,
// and merges on both sides of a boundary that none reaches over do not see each other. So cutting there
// changes nothing, except that the short words between the cuts repeat and can be cached. In the real
// vocabulary only "▁" itself is ever followed by "▁", so each word is cut off before its "▁".
func (b *bpe) splitSafely(s string) int {
	if b.neverCut {
		return len(s)
	}
	var last uint8
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		c := class(r)
		if i > 0 && !b.joinable[last][c] {
			return i
		}
		last = c
		i += size
	}
	return len(s)
}

// Bounds of the word cache. Longer words hardly repeat; a full cache is emptied, which costs one word in 2^15
// a miss.
const (
	maxCachedWord  = 64      // bytes
	maxCachedWords = 1 << 15 // words; with their ids a few MB
)

// merger is the scratch space of one Encode call: the word cache, and the linked list and heap of the current
// word.
type merger struct {
	*bpe
	ctx   context.Context // of the call: merging a word of megabytes ends with it, unfinished
	cache map[string][]int32

	id         []int32 // symbol -> token id, -1 once merged into its left neighbour
	prev, next []int32 // neighbours in the word, -1 at its ends
	heap       []uint64
}

func newMerger(b *bpe) *merger {
	return &merger{bpe: b, ctx: context.Background(), cache: make(map[string][]int32)}
}

// appendWord appends the token ids of one word to ids.
func (m *merger) appendWord(ids []int32, word string) []int32 {
	if len(word) > maxCachedWord {
		return m.appendMerged(ids, word)
	}
	if known, ok := m.cache[word]; ok {
		return append(ids, known...)
	}
	start := len(ids)
	ids = m.appendMerged(ids, word)
	if len(m.cache) >= maxCachedWords {
		clear(m.cache)
	}
	// Clone: a key that is a substring would keep the whole text alive.
	m.cache[strings.Clone(word)] = append([]int32(nil), ids[start:]...)
	return ids
}

// appendMerged is BPE proper, in O(n log n) for a word of n symbols. If the context ends first, the
// ids must not be used.
func (m *merger) appendMerged(ids []int32, word string) []int32 {
	if m.ignoreMerges {
		if id, ok := m.vocab[byteLetters(word)]; ok {
			return append(ids, id)
		}
	}
	m.setSymbols(word)
	n := int32(len(m.id))
	m.heap = m.heap[:0]
	for i := int32(0); i < n-1; i++ {
		if i%tickBytes == 0 && m.ctx.Err() != nil {
			return ids
		}
		if mg, ok := m.merges[pairKey(m.id[i], m.id[i+1])]; ok {
			m.heap = append(m.heap, heapEntry(mg.rank, i))
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.siftDown(i)
	}
	for steps := 1; len(m.heap) > 0; steps++ {
		if steps%tickBytes == 0 && m.ctx.Err() != nil {
			break
		}
		rank, at := int32(m.heap[0]>>32), int32(uint32(m.heap[0]))
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
		m.siftDown(0)

		// The entry is stale when a neighbouring merge has changed the pair since it was pushed.
		if m.id[at] < 0 || m.next[at] < 0 {
			continue
		}
		right := m.next[at]
		mg, ok := m.merges[pairKey(m.id[at], m.id[right])]
		if !ok || mg.rank != rank {
			continue
		}
		m.id[at], m.id[right] = mg.id, -1
		m.next[at] = m.next[right]
		if m.next[at] >= 0 {
			m.prev[m.next[at]] = at
			m.push(at)
		}
		if m.prev[at] >= 0 {
			m.push(m.prev[at])
		}
	}
	for i := int32(0); i >= 0 && i < n; i = m.next[i] {
		ids = append(ids, m.id[i])
	}
	return ids
}

// setSymbols lays out the word's first symbols.
func (m *merger) setSymbols(word string) {
	m.id = m.id[:0]
	if m.byteLevel {
		for i := 0; i < len(word); i++ {
			m.id = append(m.id, m.byteID[word[i]])
		}
	} else {
		for i := 0; i < len(word); {
			_, size := utf8.DecodeRuneInString(word[i:])
			if id, ok := m.vocab[word[i:i+size]]; ok {
				m.id = append(m.id, id)
			} else {
				for _, c := range []byte(word[i : i+size]) {
					m.id = append(m.id, m.byteID[c])
				}
			}
			i += size
		}
	}
	m.prev, m.next = m.prev[:0], m.next[:0]
	for i := range m.id {
		m.prev = append(m.prev, int32(i-1))
		m.next = append(m.next, int32(i+1))
	}
	if len(m.next) > 0 {
		m.next[len(m.next)-1] = -1
	}
}

// heapEntry packs a candidate so that the natural order of the numbers is the order of merging: rank, then
// position.
func heapEntry(rank, at int32) uint64 { return uint64(uint32(rank))<<32 | uint64(uint32(at)) }

// push adds the pair that starts at symbol at, if it can merge.
func (m *merger) push(at int32) {
	mg, ok := m.merges[pairKey(m.id[at], m.id[m.next[at]])]
	if !ok {
		return
	}
	m.heap = append(m.heap, heapEntry(mg.rank, at))
	for i := len(m.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if m.heap[parent] <= m.heap[i] {
			break
		}
		m.heap[parent], m.heap[i] = m.heap[i], m.heap[parent]
		i = parent
	}
}

func (m *merger) siftDown(i int) {
	h := m.heap
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
