package model

import (
	"context"
	"iter"
	"slices"
)

// Ahead is a Backend that can compute the next greedy step before the host knows the ids that it begins with,
// because they stay on the device. So the host is one step ahead of the device, and the device does not wait
// for the host between two tokens. A Backend need not have it: see [Model.Decode].
//
// At most two steps are ahead: StartArgmax has ended them, and Chosen has not answered yet. Until all of
// them are answered, Begin may begin only a step whose Chosen is true.
type Ahead interface {
	Backend

	// StartArgmax is Argmax without the wait: the ids stay on the device. In a step with more rows of
	// logits than fit in a Matrix, several calls choose ids for one part after another.
	StartArgmax(logits Matrix)
	// Chosen waits for the oldest step that is ahead, and sets next to all the ids that it has chosen. An
	// error is one of this step. The younger step, if there is one, goes on.
	Chosen(next []int32) error
}

// Decode continues each sequence of the batch with its most probable tokens, one token in a step, until most
// tokens of each are chosen. Each sequence has one new token, and its cache holds all tokens before that. For
// every step, Decode yields the ids that follow. They are valid until the next step.
//
// A negative id is ^id of a logit that is NaN or infinite, and ends the loop. The loop also ends, without an
// error, before a step for which a sequence is too long: for the context, or for the RoPE factors of its
// cached keys (see [kvcache.Cache.Crosses]). And it ends if the caller has changed the length of a cache.
//
// On a Backend that is [Ahead], Decode begins each step before the previous one has ended. If the caller
// breaks the loop, or an error or ctx ends it, Decode waits for the step that it has begun and drops it. So
// afterwards each cache holds the tokens before the last one that was yielded, on every Backend. Between two
// steps, the caller may use the model for other sequences.
func (m *Model) Decode(ctx context.Context, batch []Sequence, most int) iter.Seq2[[]int32, error] {
	return func(yield func([]int32, error) bool) {
		d := newDecoding(m, batch)
		defer d.drop()
		for left := most; left > 0; left-- {
			next, err := d.step(ctx, left > 1)
			switch {
			case err != nil:
				yield(nil, err)
				return
			case next == nil:
				return
			}
			if !yield(next, nil) || slices.Min(next) < 0 {
				return
			}
		}
	}
}

// decoding is the state of a [Model.Decode].
type decoding struct {
	model   *Model
	batch   []Sequence // with one token each, which is in last
	last    []int32    // the last token of each sequence, as far as the host knows
	next    []int32    // what the caller gets
	lengths []int      // of the caches after the youngest step
	out     Output     // of the youngest step

	ahead   Ahead // has begun the steps that are ahead
	steps   int   // that are ahead, at most 2
	pending int   // steps that were begun and not yielded
	settled bool  // out.Next has the ids of the next step to yield, or err its error
	err     error
}

func newDecoding(m *Model, batch []Sequence) *decoding {
	n := len(batch)
	d := &decoding{
		model: m, batch: make([]Sequence, n), last: make([]int32, n), next: make([]int32, n),
		lengths: make([]int, n), out: Output{Greedy: true, Next: make([]int32, n)},
	}
	for i, s := range batch {
		d.last[i] = s.IDs[0]
		d.batch[i] = Sequence{IDs: d.last[i : i+1], Cache: s.Cache}
		d.lengths[i] = s.Cache.Len()
	}
	return d
}

// step returns the ids that the next step chooses, or nil if there is no such step. With more, it begins the
// step after that one first.
func (d *decoding) step(ctx context.Context, more bool) ([]int32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i, s := range d.batch {
		if s.Cache.Len() != d.lengths[i] {
			return nil, nil
		}
	}
	if d.steps == 0 && !d.settled {
		if !d.fits() {
			return nil, nil
		}
		if err := d.begin(ctx, false); err != nil {
			return nil, err
		}
	}
	if d.steps > 0 && more && d.fits() {
		_ = d.begin(ctx, true) // after an error, the next call begins this step again and returns the error
	}
	if err := d.answer(d.next); err != nil {
		return nil, err
	}
	d.pending--
	copy(d.last, d.next)
	return d.next, nil
}

// fits reports whether every sequence can have one more token.
func (d *decoding) fits() bool {
	for _, s := range d.batch {
		if total := s.Cache.Len() + 1; total > d.model.Context || s.Cache.Crosses(total) {
			return false
		}
	}
	return true
}

// begin begins a step with the last tokens or, if chosen, with the ids that the last step chooses. On a
// Backend that is not [Ahead], it computes the step.
func (d *decoding) begin(ctx context.Context, chosen bool) error {
	ahead, ok := d.model.backend.(Ahead)
	if chosen && !ok {
		return nil // somebody has begun to watch the Backend
	}
	for _, s := range d.batch {
		if _, err := s.Cache.Prepare(s.Cache.Len() + 1); err != nil {
			return err
		}
	}
	d.out.begin, d.out.chosen = ok, chosen
	if err := d.model.Forward(ctx, d.batch, &d.out); err != nil {
		return err
	}
	for i, s := range d.batch {
		d.lengths[i] = s.Cache.Len()
	}
	d.pending++
	if !ok {
		d.settled = true
		return nil
	}
	d.ahead, d.model.decoding = ahead, d
	d.steps++
	return nil
}

// answer sets next to the ids of the oldest step.
func (d *decoding) answer(next []int32) error {
	if d.settled {
		d.settled = false
		copy(next, d.out.Next)
		return d.err
	}
	if d.steps--; d.steps == 0 {
		d.model.decoding = nil
	}
	return d.ahead.Chosen(next)
}

// settle waits for the step that is ahead, so that the Backend can compute other steps.
func (d *decoding) settle() {
	d.err = d.answer(d.out.Next)
	d.settled = true
}

// drop drops the steps that were not yielded.
func (d *decoding) drop() {
	if d.pending == 0 {
		return
	}
	for d.steps > 0 {
		_ = d.answer(d.out.Next) // an error is one of a token that nobody wants
	}
	for i, s := range d.batch {
		s.Cache.Truncate(d.lengths[i] - d.pending)
	}
}
