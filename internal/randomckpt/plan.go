package randomckpt

import (
	"fmt"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// elems returns the number of elements of a tensor.
func elems(t model.TensorSpec) int64 {
	n := int64(1)
	for _, dim := range t.Shape {
		n *= int64(dim) // cannot overflow: at most two dimensions, which the configuration limits
	}
	return n
}

// shard is one file of the checkpoint.
type shard struct {
	file    string
	tensors []model.TensorSpec
}

// shards fills one file after another with up to limit bytes of tensors. A larger tensor gets its own
// file. A checkpoint in one file is called model.safetensors and has no index, as in Hugging Face.
func shards(list []model.TensorSpec, dtype weight.Format, limit int64) []shard {
	groups := []shard{{}}
	var size int64
	for _, t := range list {
		last, bytes := &groups[len(groups)-1], elems(t)*int64(dtype.Bits()/8)
		if size += bytes; size > limit && len(last.tensors) > 0 {
			groups = append(groups, shard{})
			last = &groups[len(groups)-1]
			size = bytes
		}
		last.tensors = append(last.tensors, t)
	}
	for i := range groups {
		groups[i].file = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(groups))
	}
	if len(groups) == 1 {
		groups[0].file = "model.safetensors"
	}
	return groups
}
