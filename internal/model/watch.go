package model

// Watch replaces the model's backend by a wrapper that sees the verbs of every pass and what they compute.
// wrap receives the model's backend and returns the wrapper, which must call each verb of the backend. Call
// stop to remove the wrapper.
func (m *Model) Watch(wrap func(Backend) Backend) (stop func()) {
	own := m.backend
	m.backend = wrap(own)
	return func() { m.backend = own }
}

// LensLogits applies the final norm and the head to the residual stream as it is now ("logit lens"). It
// returns the logits [sequences, HeadRows] for the last new token of each sequence. A wrapper from
// [Model.Watch] may call it between two verbs.
func (m *Model) LensLogits() ([]float32, error) {
	rows := m.selectRows(false)
	logits := make([]float32, len(rows)*m.Config.HeadRows())
	return logits, m.head(logits, rows)
}
