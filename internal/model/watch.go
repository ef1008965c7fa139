package model

// Watch puts another backend in front of the model's own, so that it sees the verbs of every pass and what
// they compute. wrap receives the model's backend and returns the one in front, which must pass every verb
// on. Call stop to take it away.
func (m *Model) Watch(wrap func(Backend) Backend) (stop func()) {
	own := m.backend
	m.backend = wrap(own)
	return func() { m.backend = own }
}

// LensLogits returns the logits [sequences, HeadRows] that the last new token of each sequence would have if
// the residual stream, as it is now, went straight to the final norm and the head ("logit lens"). It is for a
// backend that watches a pass, between two verbs.
func (m *Model) LensLogits() ([]float32, error) {
	rows := m.selectRows(false)
	logits := make([]float32, len(rows)*m.Config.HeadRows())
	return logits, m.head(logits, rows)
}
