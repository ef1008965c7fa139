package cpu

import "phi3/internal/model"

// attending is attention in progress. Its loops are over tiles: a kv head and some queries of a sequence.
// Where there are too few of them for the threads, as in a decode step with few kv heads, they are over the
// chunks of each tile, whose sums join afterwards in their order: the bits are the same.
type attending struct {
	b      *Backend
	a, qkv []float32
	layer  int
	step   *model.Step
	tiles  int // of all sequences

	// Where chunks are shared out: chunks first … first+window-1 of each tile, if it has them.
	phase         attendPhase
	first, window int
	rows          int // of the largest tile
}

type attendPhase int

const (
	wholeTiles  attendPhase = iota // an item is a tile
	sumChunks                      // an item is a tile and a chunk, whose sums it makes
	mergeChunks                    // an item is a tile, which takes in the sums of its chunks
)

const (
	// With at least so many tiles a thread, tiles alone are shared out.
	enoughTiles = 4
	// So many chunks a thread wait for the others at most, so that their sums are in a cache.
	waitingChunks = 16
)

// run has the pool do it all.
func (w *attending) run() {
	b := w.b
	if b.pool.threads == 1 || w.tiles >= enoughTiles*b.pool.threads {
		b.pool.run(w.tiles, 1, w)
		return
	}
	oldest, newest := 1<<62, 0
	for i := range w.step.Seqs {
		s := &w.step.Seqs[i]
		oldest = min(oldest, b.oldestVisible(s.Position)/chunk)
		newest = max(newest, (s.Position+s.Len-1)/chunk)
		w.rows = max(w.rows, min(s.Len, b.queryTile())*b.group())
	}
	w.window = waitingChunks * b.pool.threads / w.tiles
	grow(&b.chunkSums, w.tiles*(w.window+1)*sumsLen(w.rows, kvDims(b.config)))
	for w.first = oldest; w.first <= newest; w.first += w.window {
		w.phase = sumChunks
		b.pool.run(w.tiles*w.window, 1, w)
		w.phase = mergeChunks
		b.pool.run(w.tiles, 1, w)
	}
}

// work implements [task]. A kv head's tiles and a tile's chunks follow each other, so that keys and values
// stay in a cache.
func (w *attending) work(worker, from, to int) {
	scratch := w.b.scratch[worker].attention
	for item := from; item < to; item++ {
		switch w.phase {
		case wholeTiles:
			t := w.tile(item)
			t.attend(w.a, w.qkv, scratch)
		case sumChunks:
			w.sumChunk(item/w.window, w.first+item%w.window, scratch)
		case mergeChunks:
			w.mergeTile(item, scratch)
		}
	}
}

// tile is tile number i.
func (w *attending) tile(i int) attentionTile {
	b := w.b
	s, rest := spanOf(w.step, i, b.attendItems)
	tiles := b.tiles(s.Len)
	first := rest % tiles * b.queryTile()
	return attentionTile{
		b: b, s: s, layer: w.layer, head: rest / tiles, first: first,
		last: min(first+b.queryTile(), s.Len),
	}
}

// sums are those of tile number i over chunk n, or over all chunks so far where n is the window's end.
func (w *attending) sums(i, n int) weightedSums {
	size := sumsLen(w.rows, kvDims(w.b.config))
	at := (i*(w.window+1) + n - w.first) * size
	return newWeightedSums(w.b.chunkSums[at:at+size], w.rows, kvDims(w.b.config))
}

// sumChunk makes the sums of tile number i over chunk n.
func (w *attending) sumChunk(i, n int, scratch *attentionScratch) {
	t := w.tile(i)
	if oldest, newest := t.chunks(); n < oldest || n > newest {
		return
	}
	t.load(w.qkv, scratch)
	sums := w.sums(i, n)
	t.sum(n, &sums, scratch)
}

// mergeTile joins the sums of tile number i over the window's chunks with those before them, and writes its
// heads after the last ones.
func (w *attending) mergeTile(i int, scratch *attentionScratch) {
	t := w.tile(i)
	oldest, newest := t.chunks()
	all := w.sums(i, w.first+w.window)
	if w.first <= oldest {
		all.clear()
	}
	for n := max(oldest, w.first); n <= min(newest, w.first+w.window-1); n++ {
		sums := w.sums(i, n)
		t.merge(n, &all, &sums, scratch)
	}
	if w.first <= newest && newest < w.first+w.window {
		t.finish(w.a, &all)
	}
}
