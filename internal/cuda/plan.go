//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// memoryPlan is what a model needs on the device, in bytes.
type memoryPlan struct {
	weights   int // with what rounding up costs, as all of these
	kv        int
	workspace int // activations, and the buffers of this package
	context   int // tokens that kv holds

	// The allocations that Plan makes, exactly.
	kvBytes, partial, arrived, normed, stage int
}

// reserve is left to the driver, which loads kernels when they are first launched and keeps graphs in the device's memory.
const reserve = 64 << 20

// Plan implements [model.Backend]. It allocates the KV cache and the workspace; nothing is allocated when there is too little memory
// for all of it and the weights.
func (b *Backend) Plan(c *model.Config, tensors []*safetensors.Tensor, maxTokens, kvBlocks int) error {
	if err := b.supports(c); err != nil {
		return err
	}
	b.config, b.kvBlocks = c, kvBlocks
	b.blockElems = c.Layers * 2 * c.KVHeads * kvcache.BlockTokens * c.HeadDim
	shape := attentionShape{heads: c.Heads, kvHeads: c.KVHeads, headDim: c.HeadDim, ropeHalf: c.RoPE.Dim / 2, window: c.SlidingWindow}
	b.maxChunks = shape.maxChunks(kvBlocks * kvcache.BlockTokens)
	p := b.planMemory(shape, tensors, maxTokens)

	return b.do(func() (err error) {
		if b.kernels.attention, err = b.device.loadAttentionKernels(b.kernels.module, shape, b.inputType()); err != nil {
			return err
		}
		free, _, err := b.device.memInfo()
		if err != nil {
			return err
		}
		if err := p.check(int(free)); err != nil {
			return err
		}
		for _, a := range []struct {
			to    *devicePtr
			bytes int
		}{{&b.kv, p.kvBytes}, {&b.partial, p.partial}, {&b.arrived, p.arrived}, {&b.normed, p.normed}} {
			if *a.to, err = b.device.alloc(a.bytes); err != nil {
				return err
			}
		}
		if err := b.device.fill(b.arrived, 0, p.arrived, b.stream); err != nil {
			return err
		}
		b.stage, err = newStage(b.device, p.stage)
		return err
	})
}

// supports says in one sentence which shape of the model the kernels are not made for, if any. The reference kernels take all.
func (b *Backend) supports(c *model.Config) error {
	var why string
	switch {
	case b.float32:
		return nil
	case c.HeadDim != 96 && c.HeadDim != 128:
		why = fmt.Sprintf("a head dimension of 96 or 128, and this model's is %d", c.HeadDim)
	case c.HiddenSize%8 != 0 || c.IntermediateSize%8 != 0:
		why = fmt.Sprintf("a hidden_size and intermediate_size divisible by 8, and this model's are %d and %d", c.HiddenSize, c.IntermediateSize)
	case c.Heads/c.KVHeads > prefillRows:
		why = fmt.Sprintf("up to %d query heads for a key head, and this model has %d", prefillRows, c.Heads/c.KVHeads)
	default:
		return nil
	}
	return fmt.Errorf("the CUDA kernels are made for %s: use --device cpu, or --dtype f32, which is slower", why)
}

// planMemory plans for the configuration and the KV cache that b knows already.
func (b *Backend) planMemory(shape attentionShape, tensors []*safetensors.Tensor, maxTokens int) memoryPlan {
	c := b.config
	p := memoryPlan{
		context: b.kvBlocks * kvcache.BlockTokens,
		kvBytes: b.kvBlocks * b.blockElems * b.inputType().bytes(),
		partial: shape.partialBytes(decodeTokens, b.maxChunks),
		arrived: decodeTokens * c.KVHeads * 4,
		normed:  maxTokens * c.HiddenSize * b.inputType().bytes(),
		stage:   stageBytes(c, maxTokens, b.kvBlocks),
	}
	for _, t := range tensors {
		p.weights += taken(b.weightBytes(t))
	}
	p.kv = taken(p.kvBytes)
	p.workspace = reserve
	for _, bytes := range []int{
		p.partial, p.arrived, p.normed, p.stage,
		// What model.Load asks NewMatrix for.
		4 * maxTokens * c.HiddenSize, 4 * maxTokens * c.QKVRows(), 4 * maxTokens * c.Heads * c.HeadDim, 4 * maxTokens * c.IntermediateSize,
		4 * model.LogitRows * c.HiddenSize, 4 * model.LogitRows * c.HiddenSize, 4 * model.LogitRows * c.HeadRows(),
	} {
		p.workspace += taken(bytes)
	}
	return p
}

// taken is what an allocation takes of the device's memory: that comes in pages of 2 MiB, which only small allocations share.
func taken(bytes int) int {
	const page, piece = 2 << 20, 512
	if bytes < page/2 {
		return ceilDiv(bytes, piece) * piece
	}
	return ceilDiv(bytes, page) * page
}

// check says in one sentence what is missing, if anything is.
func (p *memoryPlan) check(free int) error {
	need := p.weights + p.kv + p.workspace
	if need <= free {
		return nil
	}
	advice := "a smaller --ctx-size needs less"
	if p.weights > free {
		advice = "the weights alone do not fit, so use --device cpu"
	}
	return fmt.Errorf("too little memory: the weights (%s), a KV cache of %d tokens (%s) and the workspace (%s) make %s, but %.2f GB are free; %s",
		gigabytes(p.weights), p.context, gigabytes(p.kv), gigabytes(p.workspace), gigabytes(need), math.Floor(float64(free)/1e7)/100, advice)
}

// gigabytes rounds what is needed up. What is free is rounded down: the numbers must show that it is not enough.
func gigabytes(n int) string { return fmt.Sprintf("%.2f GB", math.Ceil(float64(n)/1e7)/100) }
