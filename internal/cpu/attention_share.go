package cpu

import "phi3/internal/model"

// attending computes attention. An item is a query set, or, if there are too few query sets for the threads
// (as in a decode step with few KV heads), a chunk of a query set. The sums of the chunks are merged
// afterwards in their order, so the bits are the same.
type attending struct {
	b      *Backend
	a, qkv []float32
	layer  int
	step   *model.Step
	sets   int // how many query sets

	// If items are chunks: chunks first … first+window-1 of each set are computed, then merged.
	phase         attendPhase
	first, window int
	rows          int // of the largest set
}

type attendPhase int

const (
	wholeSets   attendPhase = iota // an item computes a query set
	sumChunks                      // an item computes the sums of a query set over a chunk
	mergeChunks                    // an item merges the sums of a query set
)

const (
	// If there are at least this many query sets per thread, items are query sets.
	enoughSets = 4
	// At most this many chunks per thread wait to be merged, so that their sums stay in a cache.
	waitingChunks = 16
)

// attendItems returns the number of query sets of a sequence.
func (b *Backend) attendItems(s *model.Span) int { return b.setsPerHead(s.Len) * b.config.KVHeads }

// run computes it all.
func (w *attending) run() {
	b := w.b
	if b.pool.threads == 1 || w.sets >= enoughSets*b.pool.threads {
		b.pool.run(w.sets, 1, w)
		return
	}
	oldest, newest := 1<<62, 0
	for i := range w.step.Seqs {
		s := &w.step.Seqs[i]
		oldest = min(oldest, b.oldestVisible(s.Position)/chunk)
		newest = max(newest, (s.Position+s.Len-1)/chunk)
		w.rows = max(w.rows, min(s.Len, b.setQueries())*b.headsPerKV())
	}
	w.window = waitingChunks * b.pool.threads / w.sets
	grow(&b.chunkSums, w.sets*(w.window+1)*sumsLen(w.rows, kvDims(b.config)))
	for w.first = oldest; w.first <= newest; w.first += w.window {
		w.phase = sumChunks
		b.pool.run(w.sets*w.window, 1, w)
		w.phase = mergeChunks
		b.pool.run(w.sets, 1, w)
	}
}

// work implements [task]. The sets of a KV head and the chunks of a set are neighbours, so that keys and
// values stay in a cache.
func (w *attending) work(worker, from, to int) {
	scratch := w.b.scratch[worker].attention
	for item := from; item < to; item++ {
		switch w.phase {
		case wholeSets:
			q := w.set(item)
			q.attend(w.a, w.qkv, scratch)
		case sumChunks:
			w.sumChunk(item/w.window, w.first+item%w.window, scratch)
		case mergeChunks:
			w.mergeSet(item, scratch)
		}
	}
}

// set returns query set number i.
func (w *attending) set(i int) querySet {
	b := w.b
	s, rest := spanOf(w.step, i, b.attendItems)
	perHead := b.setsPerHead(s.Len)
	first := rest % perHead * b.setQueries()
	return querySet{
		b: b, s: s, layer: w.layer, kvHead: rest / perHead, first: first,
		last: min(first+b.setQueries(), s.Len),
	}
}

// sums returns the sums of query set number i over chunk n, or over all chunks so far if n is the window's
// end.
func (w *attending) sums(i, n int) weightedSums {
	size := sumsLen(w.rows, kvDims(w.b.config))
	at := (i*(w.window+1) + n - w.first) * size
	return newWeightedSums(w.b.chunkSums[at:at+size], w.rows, kvDims(w.b.config))
}

// sumChunk computes the sums of query set number i over chunk n.
func (w *attending) sumChunk(i, n int, scratch *attentionScratch) {
	q := w.set(i)
	if oldest, newest := q.chunks(); n < oldest || n > newest {
		return
	}
	q.load(w.qkv, scratch)
	sums := w.sums(i, n)
	q.sum(n, &sums, scratch)
}

// mergeSet merges the sums of query set number i over the window's chunks with those before them, and writes
// the query heads after the last chunk.
func (w *attending) mergeSet(i int, scratch *attentionScratch) {
	q := w.set(i)
	oldest, newest := q.chunks()
	all := w.sums(i, w.first+w.window)
	if w.first <= oldest {
		all.clear()
	}
	for n := max(oldest, w.first); n <= min(newest, w.first+w.window-1); n++ {
		sums := w.sums(i, n)
		q.merge(n, &all, &sums, scratch)
	}
	if w.first <= newest && newest < w.first+w.window {
		q.finish(w.a, &all)
	}
}
