package model

import (
	"errors"
	"fmt"
	"iter"

	"phi3/internal/kvcache"
)

// layOut checks the batch and sets m.step to it.
func (m *Model) layOut(batch []Sequence, out *Output) error {
	s := &m.step
	s.Chosen = out != nil && out.chosen
	s.IDs, s.Seqs, s.Cos, s.Sin = s.IDs[:0], s.Seqs[:0], s.Cos[:0], s.Sin[:0]
	m.wants = m.wants[:0]
	for _, seq := range batch {
		position := seq.Cache.Len()
		total := position + len(seq.IDs)
		if len(seq.IDs) == 0 {
			return errors.New("a sequence has no new tokens")
		}
		if len(seq.Cache.Blocks()) < kvcache.BlocksFor(total) {
			return fmt.Errorf("the cache is not prepared for %d tokens", total)
		}
		for _, id := range seq.IDs {
			if id < 0 || int(id) >= m.Config.VocabSize {
				return fmt.Errorf("token id %d is not in the model's vocabulary of %d", id,
					m.Config.VocabSize)
			}
		}
		rope := m.shortRope
		if seq.Cache.Long() {
			rope = m.longRope
		}
		s.Seqs = append(s.Seqs, Span{
			Start: len(s.IDs), Len: len(seq.IDs), Position: position,
			Blocks: seq.Cache.Blocks(),
		})
		s.IDs = append(s.IDs, seq.IDs...)
		m.wants = append(m.wants, seq.Want)
		s.Cos, s.Sin = rope.rows(s.Cos, s.Sin, position, total)
	}
	if len(s.IDs) == 0 || len(s.IDs) > m.maxTokens {
		return fmt.Errorf("a step has %d new tokens, not 1 … %d", len(s.IDs), m.maxTokens)
	}
	return nil
}

// head sets logits [rows, HeadRows] to the logits of the given rows of the residual stream: final norm,
// then head.
func (m *Model) head(logits []float32, rows []int32) error {
	outputs := m.Config.HeadRows()
	for at, x := range m.selected(rows) {
		y := m.buffers.Logits.First(x.Rows)
		m.backend.NormLinear(y, x, m.weights.Norm, m.weights.Head)
		if err := m.readLogits(logits[at*outputs:(at+x.Rows)*outputs], y); err != nil {
			return err
		}
	}
	return nil
}

// readLogits copies rows of logits from the device, and adds the bias that a classification head may have.
func (m *Model) readLogits(logits []float32, y Matrix) error {
	if err := m.backend.Read(logits, y); err != nil {
		return err
	}
	if bias := m.weights.HeadBias; bias != nil {
		for i := range logits {
			logits[i] += bias[i%y.Cols]
		}
	}
	return nil
}

// finish computes the results that out asks for. If out is nil, it only waits for the device.
func (m *Model) finish(out *Output) error {
	b, w, c := m.backend, m.weights, &m.Config
	if out == nil {
		return b.Read(nil, m.buffers.X.First(0))
	}
	if out.Greedy && c.Head != LMHead {
		return fmt.Errorf("a %s has no next token", c.Head)
	}
	if out.AllHidden {
		rows := m.selectRows(true)
		out.Hidden = grow(out.Hidden, len(rows)*c.HiddenSize)
		for at, x := range m.selected(rows) {
			normed := m.buffers.Normed.First(x.Rows)
			b.Norm(normed, x, w.Norm)
			if err := b.Read(out.Hidden[at*c.HiddenSize:(at+x.Rows)*c.HiddenSize], normed); err != nil {
				return err
			}
		}
	}
	return m.results(out)
}

// results computes the logits and the greedy choices that are wanted. The rows of both go through the head
// together, those whose logits are wanted first.
func (m *Model) results(out *Output) error {
	b, w, width := m.backend, m.weights, m.Config.HeadRows()
	rows, logits := m.wantedRows(out)
	out.Logits, out.Next = grow(out.Logits, logits*width), grow(out.Next, len(rows)-logits)
	if len(rows) == 0 {
		return b.Read(nil, m.buffers.X.First(0))
	}
	for at, x := range m.selected(rows) {
		y := m.buffers.Logits.First(x.Rows)
		b.NormLinear(y, x, w.Norm, w.Head)
		n := min(max(0, logits-at), x.Rows) // rows whose logits are wanted
		if n > 0 {
			if err := m.readLogits(out.Logits[at*width:(at+n)*width], y.First(n)); err != nil {
				return err
			}
		}
		var err error
		switch next := at + n - logits; {
		case n == x.Rows:
		case out.begin:
			b.(Ahead).StartArgmax(y)
		case n == 0:
			err = b.Argmax(out.Next[next:next+x.Rows], y)
		default:
			m.mixed = grow(m.mixed, x.Rows)
			err = b.Argmax(m.mixed, y)
			copy(out.Next[next:], m.mixed[n:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wantedRows returns the rows of the step whose logits are wanted, and then those that want a greedy choice.
// logits is the number of the former.
func (m *Model) wantedRows(out *Output) (rows []int32, logits int) {
	m.rows = m.rows[:0]
	for _, greedy := range []bool{false, true} {
		for i, s := range m.step.Seqs {
			want := m.wants[i]
			if want == WantOutput {
				want = out.want()
			}
			if want == WantNothing || (want == WantNext || want == wantAllNext) != greedy {
				continue
			}
			first := s.Start + s.Len - 1
			if want == WantAllLogits || want == wantAllNext {
				first = s.Start
			}
			for row := first; row < s.Start+s.Len; row++ {
				m.rows = append(m.rows, int32(row))
			}
		}
		if !greedy {
			logits = len(m.rows)
		}
	}
	return m.rows, logits
}

// selectRows returns the rows of the step: all of them, or the last one of each sequence.
func (m *Model) selectRows(all bool) []int32 {
	m.rows = m.rows[:0]
	for _, s := range m.step.Seqs {
		end := s.Start + s.Len
		first := end - 1
		if all {
			first = s.Start
		}
		for row := first; row < end; row++ {
			m.rows = append(m.rows, int32(row))
		}
	}
	return m.rows
}

// selected yields the given rows of the residual stream, [Plan.LogitRows] at a time, with the index in rows
// of the first one.
func (m *Model) selected(rows []int32) iter.Seq2[int, Matrix] {
	return func(yield func(int, Matrix) bool) {
		most := m.buffers.Selected.Rows
		for at := 0; at < len(rows); at += most {
			x := m.buffers.Selected.First(min(most, len(rows)-at))
			m.backend.Select(x, m.buffers.X.First(len(m.step.IDs)), rows[at:at+x.Rows])
			if !yield(at, x) {
				return
			}
		}
	}
}

// grow returns s with length n. It allocates only if s is too small.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
