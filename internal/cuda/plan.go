//go:build cuda && linux && cgo

package cuda

import (
	"fmt"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// memoryPlan is what a model needs on the device, in bytes.
type memoryPlan struct {
	weights   int
	kv        int
	workspace int // activations, and the buffers of this package
	context   int // tokens that kv holds
}

// Plan implements [model.Backend]. It allocates the KV cache and the workspace; nothing is allocated when there is too little memory
// for all of it and the weights.
func (b *Backend) Plan(c *model.Config, tensors []*safetensors.Tensor, maxTokens, kvBlocks int) error {
	if !b.float32 && (c.HiddenSize%8 != 0 || c.IntermediateSize%8 != 0) {
		return fmt.Errorf("the CUDA kernels need hidden_size %d and intermediate_size %d to be multiples of 8", c.HiddenSize, c.IntermediateSize)
	}
	b.config, b.kvBlocks = c, kvBlocks
	b.blockElems = c.Layers * 2 * c.KVHeads * kvcache.BlockTokens * c.HeadDim

	shape := attentionShape{heads: c.Heads, kvHeads: c.KVHeads, headDim: c.HeadDim, ropeHalf: c.RoPE.Dim / 2, window: c.SlidingWindow}
	b.maxChunks = shape.maxChunks(kvBlocks * kvcache.BlockTokens)

	kv := kvBlocks * b.blockElems * b.inputType().bytes()
	partial := shape.partialBytes(decodeTokens, b.maxChunks)
	arrived := decodeTokens * c.KVHeads * 4
	normed := maxTokens * c.HiddenSize * b.inputType().bytes()
	stage := stageBytes(c, maxTokens, kvBlocks)
	activations := 4 * (maxTokens*(c.HiddenSize+c.QKVRows()+c.Heads*c.HeadDim+c.IntermediateSize) +
		model.LogitRows*(2*c.HiddenSize+c.VocabSize))
	p := memoryPlan{kv: kv, workspace: partial + arrived + normed + stage + activations, context: kvBlocks * kvcache.BlockTokens}
	for _, t := range tensors {
		p.weights += b.weightBytes(t)
	}

	return b.device.do(func() (err error) {
		if b.kernels.attention, err = b.device.loadAttentionKernels(b.kernels.module, shape, b.inputType()); err != nil {
			return err
		}
		free, _, err := b.device.memInfo()
		if err != nil {
			return err
		}
		if err := p.check(b.device.Name, int(free)); err != nil {
			return err
		}
		for _, a := range []struct {
			to    *devicePtr
			bytes int
		}{{&b.kv, kv}, {&b.partial, partial}, {&b.arrived, arrived}, {&b.normed, normed}} {
			if *a.to, err = b.device.alloc(a.bytes); err != nil {
				return err
			}
		}
		if err := b.device.fill(b.arrived, 0, arrived, b.stream); err != nil {
			return err
		}
		b.stage, err = newStage(b.device, stage)
		return err
	})
}

// check says in one sentence what is missing, if anything is.
func (p *memoryPlan) check(device string, free int) error {
	need := p.weights + p.kv + p.workspace
	if need <= free {
		return nil
	}
	advice := "a smaller --ctx-size needs less"
	if p.weights+p.workspace > free {
		advice = "the weights alone do not fit, try --device cpu"
	}
	return fmt.Errorf("too little memory on %s: the weights (%s), a KV cache of %d tokens (%s) and the workspace (%s) make %s, but %s are free; %s",
		device, gigabytes(p.weights), p.context, gigabytes(p.kv), gigabytes(p.workspace), gigabytes(need), gigabytes(free), advice)
}

func gigabytes(n int) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }
