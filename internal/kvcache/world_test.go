package kvcache

import (
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// world is a pool with some caches, and a backend that writes, in place of keys and values, what they depend
// on. After every operation it checks everything that must be true then.
type world struct {
	t      testing.TB
	input  []byte // decides what happens
	pool   *Pool
	caches []*Cache
	texts  [][]int32          // [caches]: the ids of the sequence
	cells  [][BlockTokens]int // [blocks]: the numbers of what was written
	number map[beginning]int  // of every beginning of a text that occurred
	used   []int              // [blocks]: the operation that used it last
	now    int                // number of the operation
	seen   map[string]int     // how often something has occurred
}

// beginning is a beginning of a text: one with a number, and one more id.
type beginning struct {
	before int
	id     int32
}

const worldCrossing = 2*BlockTokens + 44

func newWorld(t testing.TB, blocks, caches int, input []byte) *world {
	w := &world{
		t: t, input: input, pool: NewPool(blocks), texts: make([][]int32, caches),
		cells: make([][BlockTokens]int, blocks), number: map[beginning]int{}, used: make([]int, blocks),
		seen: map[string]int{},
	}
	for block := range w.cells {
		for row := range w.cells[block] {
			w.cells[block][row] = -9 // never written
		}
	}
	for range caches {
		w.caches = append(w.caches, New(w.pool, worldCrossing))
	}
	return w
}

// choose returns a number below n that the input decides.
func (w *world) choose(n int) int {
	x := 0
	for range 2 {
		if len(w.input) > 0 {
			x = x<<8 | int(w.input[0])
			w.input = w.input[1:]
		}
	}
	return x % n
}

// text returns n ids. Many texts have long beginnings in common, and many others end in the same way.
func (w *world) text(n int) []int32 {
	ids := make([]int32, n)
	for from := 0; from < n; from += BlockTokens {
		variant := max(0, w.choose(5)-2)
		for i := from + w.choose(3)*60; i < min(n, from+BlockTokens); i++ {
			ids[i] = int32(variant)
		}
	}
	return ids
}

// numbers returns the numbers of all beginnings of a text, with the given RoPE factors.
func (w *world) numbers(long bool, ids []int32) []int {
	if long {
		return w.after(-2, ids)
	}
	return w.after(-1, ids)
}

// after returns the numbers of the beginning with the given number and one, two, … of ids.
func (w *world) after(number int, ids []int32) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		b := beginning{number, id}
		n, ok := w.number[b]
		if !ok {
			n = len(w.number)
			w.number[b] = n
		}
		number, out[i] = n, n
	}
	return out
}

// run runs operations until the input ends.
func (w *world) run() {
	for len(w.input) > 0 {
		w.now++
		i := w.choose(len(w.caches))
		switch op := w.choose(16); {
		case len(w.caches[i].Blocks()) == 0:
			w.begin(i)
		case op < 6:
			w.feed(i, append(w.texts[i][:w.caches[i].Len()], w.text(1+w.choose(200))...))
		case op < 9:
			w.know(i)
		case op < 11:
			w.truncate(i)
		case op < 12:
			w.caches[i].Reset()
			require.Zero(w.t, w.caches[i].Len())
		default:
			w.retire(i)
		}
		w.check()
	}
	for i := range w.caches {
		w.now++
		w.retire(i)
		w.check()
	}
	require.Zero(w.t, w.pool.InUse())
	require.Equal(w.t, w.pool.Blocks(), w.pool.Free())
	_, err := w.caches[0].Prepare(w.pool.Blocks() * BlockTokens)
	require.NoError(w.t, err)
	require.Zero(w.t, w.pool.Known())
	w.check()
}

func (w *world) begin(i int) {
	c, ids, takeOver := w.caches[i], w.text(1+w.choose(5*BlockTokens)), w.choose(2) == 1
	w.texts[i] = ids
	c.long = len(ids) > worldCrossing // so that adoptable knows; Adopt must set it itself
	want, kind := w.adoptable(w.numbers(c.long, ids), takeOver)
	c.long = w.choose(2) == 1
	require.Equal(w.t, want, c.Adopt(ids[:len(ids)-1], len(ids), takeOver), "%v", takeOver)
	require.Equal(w.t, want, c.Len())
	w.seen[kind]++
	w.check()
	if w.choose(4) > 0 {
		w.feed(i, ids)
	}
}

// adoptable returns how many positions of a text a cache can adopt, and how. It looks only at what the blocks
// contain and which of them are known.
func (w *world) adoptable(numbers []int, takeOver bool) (length int, kind string) {
	most := len(numbers) - 1
	same := func(block, from, n int) (common int) {
		for common < min(n, most-from) && w.cells[block][common] == numbers[from+common] {
			common++
		}
		return common
	}
	for next := true; next; {
		next = false
		for block, n := range w.pool.nodes {
			if n != nil && n.len == BlockTokens && same(block, length, BlockTokens) == BlockTokens {
				length += BlockTokens
				next = true
				break
			}
		}
	}
	if kind = "adopt nothing"; length > 0 {
		kind = "adopt full blocks"
	}
	best := 0
	for block, n := range w.pool.nodes {
		if n == nil || w.pool.uses[block] > 0 {
			continue
		}
		if common := same(block, length, n.len); common > best && (common == n.len || takeOver) {
			best = common
			if kind = "adopt a part"; common == n.len {
				kind = "adopt a tail"
			}
		}
	}
	return length + best, kind
}

// feed prepares a cache for a text and computes some of it.
func (w *world) feed(i int, ids []int32) {
	c := w.caches[i]
	w.texts[i] = ids
	length, need := c.Len(), BlocksFor(len(ids))-len(c.Blocks())
	crosses, shared := c.Crosses(len(ids)), c.known
	before := w.kept()
	if crosses {
		length, need = 0, need+shared
		if shared > 0 {
			w.seen["cross with known blocks"]++
		}
	}
	free := w.pool.Free()
	cached, err := c.Prepare(len(ids))
	require.Equal(w.t, length, c.Len())
	if err != nil {
		w.seen["pool is full"]++
		require.Greater(w.t, need, free)
		return
	}
	require.Equal(w.t, length, cached)
	w.evicted(before)
	w.check()
	end := len(ids)
	if w.choose(3) == 0 {
		end = cached + w.choose(end-cached+1)
	}
	for p, n := range w.numbers(c.Long(), ids[:end]) {
		if p >= cached {
			w.cells[c.Blocks()[p/BlockTokens]][p%BlockTokens] = n
		}
	}
	c.Advance(end - cached)
}

// kept returns the known blocks that no cache uses, the one that was used least recently first.
func (w *world) kept() (nodes []*node) {
	for e := w.pool.kept.Front(); e != nil; e = e.Next() {
		nodes = append(nodes, e.Value.(*node))
	}
	return nodes
}

// evicted checks which of the nodes that were kept before a Prepare are known no longer.
func (w *world) evicted(before []*node) {
	gone := 0
	for i, n := range before {
		if w.pool.nodes[n.block] != n {
			gone++
			require.Equal(w.t, i+1, gone, "what was used least recently goes first")
		}
	}
	if gone > 0 {
		w.seen["evict"]++
		require.Zero(w.t, w.pool.frees, "free blocks are taken first")
	}
}

func (w *world) know(i int) {
	c := w.caches[i]
	ids := w.texts[i][:w.choose(len(w.texts[i])+1)]
	before, was := slices.Clone(c.Blocks()), c.known
	c.Know(ids)
	require.Equal(w.t, max(was, min(len(ids), c.Len())/BlockTokens), c.known)
	if c.known > was {
		w.seen["know"]++
	}
	if !slices.Equal(before, c.Blocks()) {
		w.seen["know what is known already"]++
	}
}

func (w *world) truncate(i int) {
	c := w.caches[i]
	length := w.choose(c.Len() + 1)
	want := min(length, c.Len())
	if at := length / BlockTokens; length%BlockTokens > 0 && w.pool.uses[c.Blocks()[at]] > 1 {
		w.seen["truncate a shared block"]++
		want = at * BlockTokens
	} else if length%BlockTokens > 0 && w.pool.nodes[c.Blocks()[at]] != nil {
		w.seen["truncate a known block"]++
	}
	c.Truncate(length)
	require.Equal(w.t, want, c.Len())
	require.Len(w.t, c.Blocks(), BlocksFor(want))
}

func (w *world) retire(i int) {
	c := w.caches[i]
	n := c.Len()
	if w.choose(4) == 0 {
		n = w.choose(n + 1)
	}
	c.Know(w.texts[i][:n])
	w.check()
	var holder *node
	numbers := w.numbers(c.Long(), w.texts[i][:n])
	if from := c.known * BlockTokens; from < n {
		if holder = w.pool.holder(c.lastKnown(), w.texts[i][from:n]); holder != nil {
			w.seen["retire what is known already"]++
		} else {
			w.seen["retire a tail"]++
		}
	}
	c.Retire(w.texts[i][:n])
	require.Empty(w.t, c.Blocks())
	if holder != nil && w.pool.uses[holder.block] == 0 {
		w.used[holder.block] = w.now
	}
	for from := 0; from < n; from += BlockTokens { // nothing of it is lost
		part := numbers[from:min(n, from+BlockTokens)]
		require.True(w.t, slices.ContainsFunc(w.pool.nodes, func(n *node) bool {
			return n != nil && n.len >= len(part) && slices.Equal(w.cells[n.block][:len(part)], part)
		}))
	}
}

// In any order of calls, every cache sees what it should, no block is written that others see, and none is
// lost.
func TestManyCachesShareOnePool(t *testing.T) {
	seen := map[string]int{}
	for seed := range 8 {
		input := make([]byte, 6000)
		rng := newRand(seed)
		_, err := rng.Read(input)
		require.NoError(t, err)
		w := newWorld(t, 10+3*seed, 2+seed%4, input)
		w.run()
		for what, n := range w.seen {
			seen[what] += n
		}
	}
	t.Log(seen)
	for _, what := range []string{
		"adopt nothing", "adopt full blocks", "adopt a tail", "adopt a part", "cross with known blocks",
		"evict", "know", "know what is known already", "pool is full", "retire a tail",
		"retire what is known already", "truncate a known block", "truncate a shared block",
	} {
		require.Greater(t, seen[what], 10, "the test is too weak: %s", what)
	}
}

func FuzzPool(f *testing.F) {
	for seed := range 4 {
		input := make([]byte, 400)
		_, _ = newRand(seed).Read(input)
		f.Add(uint8(4+8*seed), uint8(seed), input)
	}
	f.Fuzz(func(t *testing.T, blocks, caches uint8, input []byte) {
		if len(input) < 2000 {
			newWorld(t, 1+int(blocks)%32, 1+int(caches)%4, input).run()
		}
	})
}

func newRand(seed int) *rand.Rand { return rand.New(rand.NewSource(int64(seed))) }
