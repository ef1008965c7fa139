package randomckpt

import (
	"fmt"

	"phi3/internal/safetensors"
)

// weight is one tensor to be made.
type weight struct {
	name  string
	shape []int
	norm  bool // a norm's scale, near 1; the others are matrices around 0
}

// bytes returns the weight's size at a number of bytes per element.
func (w weight) bytes(dtype safetensors.DType) int64 {
	n := int64(dtype.Bits() / 8)
	for _, dim := range w.shape {
		n *= int64(dim) // below 2⁵¹: at most two dimensions of at most 2²⁵
	}
	return n
}

// weights lists a model's tensors (spec section 2) in the order in which Hugging Face saves them, which decides the shards.
func weights(c config) []weight {
	hidden, attention := c.HiddenSize, c.Heads*c.HeadDim
	qkv := attention + 2*c.KVHeads*c.HeadDim

	list := []weight{{name: "model.embed_tokens.weight", shape: []int{c.VocabSize, hidden}}}
	for i := range c.Layers {
		layer := fmt.Sprintf("model.layers.%d.", i)
		list = append(
			list,
			weight{name: layer + "self_attn.o_proj.weight", shape: []int{hidden, attention}},
			weight{name: layer + "self_attn.qkv_proj.weight", shape: []int{qkv, hidden}},
			weight{name: layer + "mlp.gate_up_proj.weight", shape: []int{2 * c.IntermediateSize, hidden}},
			weight{name: layer + "mlp.down_proj.weight", shape: []int{hidden, c.IntermediateSize}},
			weight{name: layer + "input_layernorm.weight", shape: []int{hidden}, norm: true},
			weight{name: layer + "post_attention_layernorm.weight", shape: []int{hidden}, norm: true},
		)
	}
	list = append(list, weight{name: "model.norm.weight", shape: []int{hidden}, norm: true})
	if !c.TieWordEmbeddings {
		list = append(list, weight{name: "lm_head.weight", shape: []int{c.VocabSize, hidden}})
	}
	return list
}

// shard is one file of the checkpoint.
type shard struct {
	file    string
	weights []weight
}

// shards fills one file after another up to limit bytes of tensors; a larger tensor gets a file for itself. A checkpoint that
// fits in one file is called model.safetensors and has no index, as Hugging Face has it.
func shards(list []weight, dtype safetensors.DType, limit int64) []shard {
	groups := []shard{{}}
	var size int64
	for _, w := range list {
		last := &groups[len(groups)-1]
		if size += w.bytes(dtype); size > limit && len(last.weights) > 0 {
			groups = append(groups, shard{})
			last = &groups[len(groups)-1]
			size = w.bytes(dtype)
		}
		last.weights = append(last.weights, w)
	}
	for i := range groups {
		groups[i].file = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(groups))
	}
	if len(groups) == 1 {
		groups[0].file = "model.safetensors"
	}
	return groups
}
