package explore

// rows keeps the logits of the last texts, so that a slider of the page needs no pass of the model.
type rows struct{}
