package inspect

import "phi3/internal/model"

// watcher is a backend that wraps another one. It calls every verb of the other one, and passes what the
// verbs compute to two functions.
type watcher struct {
	model.Backend
	// stream, if set, receives the residual stream [tokens, hidden]: layer 0 is the embeddings, layer i the
	// stream after layer i.
	stream func(layer int, x model.Matrix) error
	// attend, if set, receives the queries, keys and values [tokens, QKVRows] of layer 1, 2, …, before RoPE.
	attend func(layer int, qkv model.Matrix) error
	// added, if set, is called when the residual stream is that of the embeddings, and after each addition to
	// it: of the attention of layer 1, the MLP of layer 1, the attention of layer 2, ….
	added func() error

	step  *model.Step
	layer int   // the current one, from 1
	mlp   bool  // the next LinearAdd ends the layer
	err   error // the first one; Read and Argmax return it, as the contract of Backend asks
}

// watch wraps the model's backend in a watcher until stop is called.
func watch(m *model.Model, w *watcher) (stop func()) {
	return m.Watch(func(b model.Backend) model.Backend {
		w.Backend = b
		return w
	})
}

// AfterLayers calls see after every layer of each step until stop is called: layer 0 is the embeddings.
// There, see may call [model.Model.LensLogits]. Its error ends the step.
func AfterLayers(m *model.Model, see func(layer int) error) (stop func()) {
	return watch(m, &watcher{stream: func(layer int, _ model.Matrix) error { return see(layer) }})
}

// EachLayer calls see with the residual stream [tokens, hidden] of every step until stop is called: layer 0
// is the embeddings, layer i the stream after layer i. The values are valid during the call.
func EachLayer(m *model.Model, see func(layer int, x []float32)) (stop func()) {
	w := &watcher{}
	var values []float32
	w.stream = func(layer int, x model.Matrix) (err error) {
		if values, err = w.read(values, x); err == nil {
			see(layer, values)
		}
		return err
	}
	return watch(m, w)
}

// read copies an activation from the device, into values if it fits.
func (w *watcher) read(values []float32, x model.Matrix) ([]float32, error) {
	if n := x.Rows * x.Cols; cap(values) < n {
		values = make([]float32, n)
	} else {
		values = values[:n]
	}
	return values, w.Backend.Read(values, x)
}

func (w *watcher) showStream(layer int, x model.Matrix) {
	if w.stream != nil && w.err == nil {
		w.err = w.stream(layer, x)
	}
}

func (w *watcher) showAddition() {
	if w.added != nil && w.err == nil {
		w.err = w.added()
	}
}

func (w *watcher) Begin(step *model.Step) {
	w.step, w.mlp = step, false
	w.Backend.Begin(step)
}

func (w *watcher) Embed(x model.Matrix, table model.Weight) {
	w.Backend.Embed(x, table)
	w.showAddition()
	w.showStream(0, x)
}

func (w *watcher) Attend(a, qkv model.Matrix, layer int) {
	w.layer = layer + 1
	if w.attend != nil && w.err == nil {
		w.err = w.attend(w.layer, qkv)
	}
	w.Backend.Attend(a, qkv, layer)
}

func (w *watcher) NormGateUp(h, x model.Matrix, norm, weight model.Weight) {
	w.mlp = true
	w.Backend.NormGateUp(h, x, norm, weight)
}

func (w *watcher) LinearAdd(x, a model.Matrix, weight model.Weight) {
	w.Backend.LinearAdd(x, a, weight)
	w.showAddition()
	if w.mlp {
		w.mlp = false
		w.showStream(w.layer, x)
	}
}

func (w *watcher) Read(dst []float32, x model.Matrix) error {
	if w.err != nil {
		return w.err
	}
	return w.Backend.Read(dst, x)
}

func (w *watcher) Argmax(next []int32, logits model.Matrix) error {
	if w.err != nil {
		return w.err
	}
	return w.Backend.Argmax(next, logits)
}
