package model

import (
	"errors"
	"fmt"

	"phi3/internal/kvcache"
)

// begin checks the batch and lays it out as m.step.
func (m *Model) begin(batch []Sequence) error {
	s := &m.step
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
				return fmt.Errorf("token id %d is not in the model's vocabulary of %d", id, m.Config.VocabSize)
			}
		}
		table := m.short
		if seq.Cache.Long() {
			table = m.long
		}
		s.Seqs = append(s.Seqs, Span{Start: len(s.IDs), Len: len(seq.IDs), Position: position, Blocks: seq.Cache.Blocks()})
		s.IDs = append(s.IDs, seq.IDs...)
		s.Cos, s.Sin = table.rows(s.Cos, s.Sin, position, total)
	}
	if len(s.IDs) == 0 || len(s.IDs) > m.maxTokens {
		return fmt.Errorf("a step has %d new tokens, not 1 … %d", len(s.IDs), m.maxTokens)
	}
	return nil
}

// show hands the residual stream to out.EachLayer.
func (m *Model) show(out *Output, layer int) error {
	if out == nil || out.EachLayer == nil {
		return nil
	}
	x := m.act.x.First(len(m.step.IDs))
	m.act.scratch = grow(m.act.scratch, x.Rows*x.Cols)
	if err := m.backend.Read(m.act.scratch, x); err != nil {
		return err
	}
	out.EachLayer(layer, m.act.scratch)
	return nil
}

// finish applies the final norm and the LM head to the positions that out asks for. Without out it only waits for the device.
func (m *Model) finish(out *Output) error {
	b, w, c := m.backend, m.weights, &m.Config
	x := m.act.x.First(len(m.step.IDs))
	if out == nil {
		return b.Read(nil, x.First(0))
	}
	rows := m.wantedRows(out)
	out.Logits = grow(out.Logits, len(rows)*c.VocabSize)
	if out.WantHidden {
		out.Hidden = grow(out.Hidden, len(rows)*c.HiddenSize)
	}
	for from := 0; from < len(rows); from += logitRows {
		to := min(from+logitRows, len(rows))
		last, normed, logits := m.act.last.First(to-from), m.act.normed.First(to-from), m.act.logits.First(to-from)
		b.Select(last, x, rows[from:to])
		if out.WantHidden {
			b.Norm(normed, last, w.Norm)
			if err := b.Read(out.Hidden[from*c.HiddenSize:to*c.HiddenSize], normed); err != nil {
				return err
			}
		}
		b.NormLinear(logits, last, w.Norm, w.LMHead)
		if err := b.Read(out.Logits[from*c.VocabSize:to*c.VocabSize], logits); err != nil {
			return err
		}
	}
	return nil
}

// wantedRows are the rows of the step whose logits out asks for.
func (m *Model) wantedRows(out *Output) []int32 {
	m.rows = m.rows[:0]
	for _, s := range m.step.Seqs {
		end := s.Start + s.Len
		first := end - 1
		if out.AllPositions {
			first = s.Start
		}
		for row := first; row < end; row++ {
			m.rows = append(m.rows, int32(row))
		}
	}
	return m.rows
}

// grow returns s with length n, reallocated only when it is too small.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
