package model

import (
	"context"

	"phi3/internal/quantize"
	"phi3/internal/weight"
)

// Watch replaces the model's backend by a wrapper that sees the verbs of every pass and what they compute.
// wrap receives the model's backend and returns the wrapper, which must call each verb of the backend. Call
// stop to remove the wrapper.
func (m *Model) Watch(wrap func(Backend) Backend) (stop func()) {
	own := m.backend
	m.backend = wrap(own)
	return func() { m.backend = own }
}

// LensLogits applies the final norm and the head to the residual stream as it is now ("logit lens"). It
// returns the logits [rows, HeadRows] for every new token of the step if all is set, and otherwise for the
// last new token of each sequence. They are in logits if they fit there. A wrapper from [Model.Watch] may
// call it between two verbs.
func (m *Model) LensLogits(logits []float32, all bool) ([]float32, error) {
	rows := m.selectRows(all)
	logits = grow(logits, len(rows)*m.Config.HeadRows())
	return logits, m.head(logits, rows)
}

// LastRows returns the residual stream as it is now [sequences, hidden] for the last new token of each
// sequence. A wrapper from [Model.Watch] may call it between two verbs.
func (m *Model) LastRows() ([]float32, error) {
	rows, width := m.selectRows(false), m.Config.HiddenSize
	stream := make([]float32, len(rows)*width)
	for at, x := range m.selected(rows) {
		if err := m.backend.Read(stream[at*width:(at+x.Rows)*width], x); err != nil {
			return nil, err
		}
	}
	return stream, nil
}

// HeadDirection returns the direction [hidden] in the residual stream that stands for output id of the head:
// its row of the head, times the weights of the final norm. Without rounding, its logit is the product of the
// direction and the stream, divided by the root of the stream's mean square and RMSNormEps. (A TokenHead adds
// its bias.) The weights are those of the checkpoint, and quantized as on the device.
func (m *Model) HeadDirection(ctx context.Context, id int32) ([]float64, error) {
	head, width := &m.weights.Head, m.Config.HiddenSize
	if m.Config.TiedEmbeddings {
		head = &m.weights.EmbedTokens
	}
	direction := make([]float64, width)
	for i := range direction {
		direction[i] = 1
	}
	for i, row := range m.checkpoint.table {
		t, at := m.checkpoint.stored[i], 0
		switch row.field {
		case &m.weights.Norm:
		case head:
			at = int(id)
		default:
			continue
		}
		values, err := widenRow(ctx, t, at, row.tensor.Format)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			direction[i] *= float64(v)
		}
	}
	return direction, nil
}

// widenRow returns the numbers of a row of t after a conversion to the format. A vector has one row.
func widenRow(ctx context.Context, t *weight.Tensor, row int, f weight.Format) (values []float32, err error) {
	cols := t.Shape[len(t.Shape)-1]
	bytes := t.Format.RowBytes(cols)
	part := &weight.Tensor{
		Name: t.Name, Format: t.Format, Shape: []int{1, cols}, File: t.File,
		Offset: t.Offset + int64(row*bytes), Data: t.Data[row*bytes : (row+1)*bytes],
	}
	if f != t.Format {
		if part, err = quantize.Tensor(ctx, part, f); err != nil {
			return nil, err
		}
	}
	err = weight.Guard([]*weight.Tensor{part}, func() error {
		values = part.Float32s()
		return nil
	})
	return values, err
}
