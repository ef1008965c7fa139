//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// Plan implements [model.Backend]. It allocates the KV cache and the workspace; nothing is allocated when there is too little memory
// for all of it and the weights.
func (b *Backend) Plan(c *model.Config, tensors []*safetensors.Tensor, maxTokens, kvBlocks int) error {
	if err := Supports(c, Options{Float32: b.float32}); err != nil {
		return err
	}
	b.config, b.kvBlocks = c, kvBlocks
	b.blockElems = blockElems(c)
	shape := shapeOf(c)
	b.maxChunks = shape.maxChunks(kvBlocks * kvcache.BlockTokens)
	p := planMemory(c, tensors, b.float32, maxTokens, kvBlocks)

	return b.do(func() (err error) {
		if b.kernels.attention, err = b.device.loadAttentionKernels(b.kernels.module, shape, b.inputType()); err != nil {
			return err
		}
		if err := b.kernels.countResident(b.device, c.HiddenSize); err != nil {
			return err
		}
		free, _, err := b.device.memInfo()
		if err != nil {
			return err
		}
		if err := p.check(free); err != nil {
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

// check says in one sentence what is missing, if anything is.
func (p *memoryPlan) check(free int64) error {
	need := p.Total()
	if need <= free {
		return nil
	}
	advice := "a smaller --ctx-size needs less"
	if p.Weights > free {
		advice = "the weights alone do not fit, so use --device cpu"
	}
	return fmt.Errorf("too little memory: the weights (%s), a KV cache of %d tokens (%s) and the workspace (%s) make %s, but %.2f GB are free; %s",
		gigabytes(p.Weights), p.context, gigabytes(p.KV), gigabytes(p.Workspace), gigabytes(need), math.Floor(float64(free)/1e7)/100, advice)
}

// gigabytes rounds what is needed up. What is free is rounded down: the numbers must show that it is not enough.
func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", math.Ceil(float64(n)/1e7)/100) }
