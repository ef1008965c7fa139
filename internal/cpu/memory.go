package cpu

import (
	"errors"

	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// PlanMemory is what a model takes of the machine's memory for a context of kvBlocks blocks and steps of up to maxTokens new tokens. Of
// the tensors it looks at type and shape only. Weights are pages of the checkpoint's files, which the system shares between processes
// and may drop; keys and values are allocated as the context fills, so KV is the most they come to.
func PlanMemory(c *model.Config, tensors []*safetensors.Tensor, o Options, maxTokens, kvBlocks int) (_ model.Memory, err error) {
	b, err := New(o)
	if err != nil {
		return model.Memory{}, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Plan(c, tensors, maxTokens, kvBlocks); err != nil {
		return model.Memory{}, err
	}
	m := model.Memory{KV: int64(kvBlocks) * int64(b.kvBlockElems()) * 2, Workspace: b.workspaceBytes()}
	if o.Float32 {
		m.KV *= 2
	}
	for _, t := range tensors {
		m.Weights += int64(t.Elems()) * int64(t.DType.Bits()) / 8
		if len(t.Shape) == 1 {
			m.Workspace += 4 * int64(t.Elems()) // Upload widens norms
		}
	}
	for _, a := range model.Activations(c, maxTokens) {
		m.Workspace += 4 * int64(a.Rows) * int64(a.Cols)
	}
	return m, nil
}

// workspaceBytes is what Plan has allocated.
func (b *Backend) workspaceBytes() int64 {
	bytes := len(b.packed) + 4*len(b.normed) + 8*len(b.kv)
	for _, s := range b.scratch {
		bytes += 4*(len(s.sums)+len(s.rows)+len(s.lanes)+len(s.tail)) + len(s.packed)
		a := s.attention
		bytes += 4 * (len(a.q) + len(a.scores) + len(a.sum) + len(a.out) + len(a.top) + len(a.total) + len(a.m) + len(a.l) + len(a.old))
		bytes += 2 * (len(a.highQ) + len(a.lowQ) + len(a.high) + len(a.low))
	}
	return int64(bytes)
}
