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
		if err := m.backend.Read(logits[at*outputs:(at+x.Rows)*outputs], y); err != nil {
			return err
		}
	}
	if bias := m.weights.HeadBias; bias != nil {
		for i := range logits {
			logits[i] += bias[i%outputs]
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
	rows := m.selectRows(out.AllLogits)
	if !out.Greedy {
		out.Logits = grow(out.Logits, len(rows)*c.HeadRows())
		return m.head(out.Logits, rows)
	}
	out.Next = grow(out.Next, len(rows))
	for at, x := range m.selected(rows) {
		logits := m.buffers.Logits.First(x.Rows)
		b.NormLinear(logits, x, w.Norm, w.Head)
		if out.begin {
			b.(Ahead).StartArgmax(logits)
		} else if err := b.Argmax(out.Next[at:at+x.Rows], logits); err != nil {
			return err
		}
	}
	return nil
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

// selected yields the given rows of the residual stream, [Plan.LogitRows] at a time, with the index in rows of
// the first one.
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
