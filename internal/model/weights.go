package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"phi3/internal/show"
	"phi3/internal/weight"
)

// Weights are the parameters of the model, named as in the checkpoint. Matrices are [out, in], so y = x·Wᵀ.
type Weights struct {
	EmbedTokens Weight // [vocab, hidden]
	Layers      []LayerWeights
	Norm        Weight // [hidden]
	// [HeadRows, hidden]: lm_head, EmbedTokens itself when the embeddings are tied, or score of a
	// classification head
	Head Weight

	HeadBias []float32 // [HeadRows] of a TokenHead, else nil; the host adds it, because it is small
}

// LayerWeights are the parameters of one decoder layer.
type LayerWeights struct {
	InputLayernorm Weight // [hidden]
	// [(heads + 2·kvHeads)·headDim, hidden]: query heads, key heads, value heads
	QKVProj                Weight
	OProj                  Weight // [hidden, heads·headDim]
	PostAttentionLayernorm Weight // [hidden]
	GateUpProj             Weight // [2·intermediate, hidden]: gate rows, then up rows
	DownProj               Weight // [hidden, intermediate]
}

// tensorRow is one row of the weight table.
type tensorRow struct {
	name   string
	shape  []int
	tensor *weight.Tensor // set by match
	field  *Weight        // receives the backend's weight, or
	host   *[]float32     // receives the values, which stay on the host
}

// table lists every tensor that the checkpoint must have, its shape and its field (spec section 2). Loading,
// checking and phi3 info use it. The names of tensors occur only in this package. The order is that in which
// Hugging Face saves a Phi-3, so shards that are written in this order are divided like the published ones.
func (w *Weights) table(c *Config) []tensorRow {
	w.Layers = make([]LayerWeights, c.Layers)
	rows := []tensorRow{{name: embedName, shape: []int{c.VocabSize, c.HiddenSize}, field: &w.EmbedTokens}}
	for i := range w.Layers {
		l, prefix := &w.Layers[i], fmt.Sprintf("model.layers.%d.", i)
		rows = append(
			rows,
			tensorRow{
				name:  prefix + "self_attn.o_proj.weight",
				shape: []int{c.HiddenSize, c.Heads * c.HeadDim}, field: &l.OProj,
			},
			tensorRow{
				name: prefix + "self_attn.qkv_proj.weight", shape: []int{c.QKVRows(), c.HiddenSize},
				field: &l.QKVProj,
			},
			tensorRow{
				name:  prefix + "mlp.gate_up_proj.weight",
				shape: []int{2 * c.IntermediateSize, c.HiddenSize}, field: &l.GateUpProj,
			},
			tensorRow{
				name: prefix + "mlp.down_proj.weight", shape: []int{c.HiddenSize, c.IntermediateSize},
				field: &l.DownProj,
			},
			tensorRow{
				name: prefix + "input_layernorm.weight", shape: []int{c.HiddenSize},
				field: &l.InputLayernorm,
			},
			tensorRow{
				name: prefix + "post_attention_layernorm.weight", shape: []int{c.HiddenSize},
				field: &l.PostAttentionLayernorm,
			},
		)
	}
	rows = append(rows, tensorRow{name: "model.norm.weight", shape: []int{c.HiddenSize}, field: &w.Norm})
	head := tensorRow{name: headName, shape: []int{c.HeadRows(), c.HiddenSize}, field: &w.Head}
	if c.Head != LMHead {
		head.name = "score.weight"
	}
	if !c.TiedEmbeddings {
		rows = append(rows, head)
	}
	if c.Head == TokenHead {
		rows = append(rows, tensorRow{name: "score.bias", shape: []int{c.HeadRows()}, host: &w.HeadBias})
	}
	return rows
}

// TensorSpec is a tensor that a checkpoint must have.
type TensorSpec struct {
	Name  string
	Shape []int
}

// Tensors lists the tensors of a checkpoint with this configuration in the order in which Hugging Face
// saves them: embeddings, layer after layer, final norm, head.
func (c *Config) Tensors() []TensorSpec {
	var specs []TensorSpec
	for _, row := range new(Weights).table(c) {
		specs = append(specs, TensorSpec{row.name, row.shape})
	}
	return specs
}

// find returns a tensor by its name, or by another name that it may have: without "model.", as in a base
// checkpoint, or with one "model." more, as transformers 5 accepts both (core_model_loading.py,
// rename_source_key); and "classifier" instead of "score" for a TokenHead up to transformers 4.47.
func find(ckpt weight.Source, name string) (*weight.Tensor, bool) {
	const prefix = "model."
	names := []string{name, prefix + name, strings.TrimPrefix(name, prefix)}
	if part, ok := strings.CutPrefix(name, "score."); ok {
		names = append(names, "classifier."+part)
	}
	for _, name := range names {
		if t, ok := ckpt.Tensor(name); ok {
			return t, true
		}
	}
	return nil, false
}

// missing returns the error for a tensor that the checkpoint does not have. It names the tensor that is
// probably meant: programs that wrap a model, for example to train it, save the tensors with other names.
func missing(ckpt weight.Source, name string) error {
	err := fmt.Errorf("tensor %s is missing from the checkpoint", name)
	const unmerged = "was the adapter merged before it was saved?"
	if name == headName {
		return fmt.Errorf("%w; if the LM head is the embedding table, tie_word_embeddings in config.json "+
			"must be true", err)
	}
	if part, ok := strings.CutSuffix(name, "qkv_proj.weight"); ok {
		if _, ok := find(ckpt, part+"q_proj.weight"); ok {
			return fmt.Errorf("%w; there is %sq_proj.weight: %s", err, part, llamaShape)
		}
	}
	if wrapped := strings.TrimSuffix(name, ".weight") + ".base_layer.weight"; wrapped != name {
		if _, ok := find(ckpt, wrapped); ok {
			return fmt.Errorf("%w; there is %s: %s", err, wrapped, unmerged)
		}
	}
	for _, other := range ckpt.Names() {
		prefix, ok := strings.CutSuffix(other, name)
		if !ok {
			prefix, ok = strings.CutSuffix(other, strings.TrimPrefix(name, "model."))
		}
		if !ok || !strings.HasSuffix(prefix, ".") || strings.Contains(prefix, "layers.") {
			continue
		}
		if strings.HasPrefix(prefix, "base_model.") {
			return fmt.Errorf("%w; there is %s: %s", err, show.Brief(other), unmerged)
		}
		return fmt.Errorf("%w; there is %s: was the model saved inside another one? Phi-3's names do not "+
			"begin with %s",
			err, show.Brief(other), show.Brief(prefix))
	}
	return err
}

// match sets the tensor of every row of the table, after checking it. It returns the names of the tensors
// that the model does not use. An error names the tensor and its file.
func match(table []tensorRow, ckpt weight.Source) (unused []string, err error) {
	known := map[string]bool{headName: true} // not unused if the embeddings are tied
	for i, row := range table {
		t, ok := find(ckpt, row.name)
		if !ok {
			return nil, missing(ckpt, row.name)
		}
		if !slices.Equal(t.Shape, row.shape) {
			return nil, fmt.Errorf("%s: tensor %s has shape %v, config.json asks for %v", t.File, t.Name,
				t.Shape, row.shape)
		}
		if !readable(t) {
			return nil, fmt.Errorf("%s: tensor %s is stored as %s; BF16, F16 and F32 are supported: "+
				"save the checkpoint again in one of these", t.File, t.Name, t.Format)
		}
		table[i].tensor = t
		known[t.Name] = true
	}
	for _, name := range ckpt.Names() {
		if !known[name] && !strings.HasSuffix(name, ".rotary_emb.inv_freq") {
			unused = append(unused, name)
		}
	}
	return unused, nil
}

// readable reports whether weights may have the tensor's format. Only matrices may be quantized.
func readable(t *weight.Tensor) bool {
	return t.Format == weight.BF16 || t.Format == weight.F16 || t.Format == weight.F32 ||
		t.Format.Quantized() && len(t.Shape) == 2
}

// keepOnHost converts the tensors that stay on the host.
func keepOnHost(table []tensorRow) error {
	for _, row := range table {
		if row.host == nil {
			continue
		}
		err := weight.Guard([]*weight.Tensor{row.tensor}, func() error {
			*row.host = row.tensor.Float32s()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// onDevice returns the tensors for the backend.
func onDevice(table []tensorRow) []*weight.Tensor {
	var tensors []*weight.Tensor
	for _, row := range table {
		if row.field != nil {
			tensors = append(tensors, row.tensor)
		}
	}
	return tensors
}

// upload gives the backend the tensors that it needs. Those that are to be quantized are quantized one after
// another, so the memory holds at most one tensor that the backend does not need.
func upload(ctx context.Context, b Backend, c *Checkpoint, progress func(done, total int64)) error {
	var done, total int64
	for _, t := range onDevice(c.table) {
		total += t.Bytes()
	}
	for i, row := range c.table {
		if row.field == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := c.Data(ctx, i)
		if err != nil {
			return err // it names the tensor
		}
		*row.field, err = b.Upload(t)
		if errors.Is(err, weight.ErrUnreadable) {
			return err // it names the tensor
		}
		if err != nil {
			return fmt.Errorf("load tensor %s: %w", row.tensor.Name, err)
		}
		if done += row.tensor.Bytes(); progress != nil {
			progress(done, total)
		}
	}
	return nil
}
