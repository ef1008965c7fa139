package explore

import (
	"slices"
	"sync"
)

// Bounds on the logits that are kept.
const (
	maxRows     = 16
	maxRowBytes = 64 << 20 // of all rows
)

// rows keeps the logits of the last texts, so that a slider of the page needs no pass of the model. Any
// number of goroutines may use it.
type rows struct {
	mu   sync.Mutex
	last []row // the most recent use first
}

// row is the logits after a text. They never change.
type row struct {
	ids    []int32
	logits []float32 // [vocab]
}

func (r row) bytes() int { return 4 * (len(r.ids) + len(r.logits)) }

// get returns the logits after ids, or nil.
func (r *rows) get(ids []int32) []float32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(ids)
}

// put keeps both slices. Where two goroutines have computed the same logits, it keeps the first.
func (r *rows) put(ids []int32, logits []float32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(ids) != nil {
		return
	}
	r.last = slices.Insert(r.last, 0, row{ids, logits})
	left := maxRowBytes
	for i := range r.last {
		if left -= r.last[i].bytes(); left < 0 || i == maxRows {
			r.last = slices.Delete(r.last, i, len(r.last)) // clears them, so that their memory is free
			return
		}
	}
}

// find moves a row to the front. The caller holds mu.
func (r *rows) find(ids []int32) []float32 {
	i := slices.IndexFunc(r.last, func(row row) bool { return slices.Equal(row.ids, ids) })
	if i < 0 {
		return nil
	}
	found := r.last[i]
	copy(r.last[1:], r.last[:i])
	r.last[0] = found
	return found.logits
}
