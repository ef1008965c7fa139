package cpu

import (
	"sync/atomic"
	"unsafe"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// chunk is the number of keys whose scores are computed, exponentiated and summed together, counted from
// position 0 of the sequence. Chunks are merged in order, so the result does not depend on how the sequence
// was split into steps.
const chunk = kvcache.BlockTokens

// kvBlock is the memory of one block of the KV cache: the keys and values of chunk positions, for all layers.
// A layer has the keys of all KV heads and then the values of all KV heads, each a [kvMatrix]. A head's keys
// are [dims, chunk] and its values are [chunk, dims], where dims is the head's width rounded up to a multiple
// of 32. Elements that were never written are 0.
type kvBlock struct {
	bf16 []uint16
	f32  []float32 // instead of bf16, when nothing is rounded

	// damaged is set if some value is not finite, or was not. See queryChunk.weigh.
	damaged atomic.Bool
}

// kvDims returns the width of a head in the cache.
func kvDims(c *model.Config) int { return (c.HeadDim + 31) &^ 31 }

// kvBlockElems returns how many numbers a block holds.
func kvBlockElems(c *model.Config) int {
	return c.Layers * 2 * c.KVHeads * chunk * kvDims(c)
}

func (b *Backend) newKVBlock() *kvBlock {
	n := kvBlockElems(b.config)
	if b.float32 {
		return &kvBlock{f32: makeLarge[float32](n)}
	}
	return &kvBlock{bf16: makeLarge[uint16](n)}
}

// mend makes all values of a damaged block 0.
func (k *kvBlock) mend() {
	if k.damaged.Load() {
		clear(k.bf16)
		clear(k.f32)
		k.damaged.Store(false)
	}
}

// keysAndValues returns the keys and values of a layer's KV head in a block.
func (b *Backend) keysAndValues(block int32, layer, head int) (keys, vals kvMatrix) {
	c, dims := b.config, kvDims(b.config)
	k := b.kv[block]
	size := dims * chunk
	at := (layer*2*c.KVHeads + head) * size
	values := at + c.KVHeads*size
	keys, vals = kvMatrix{cols: chunk}, kvMatrix{cols: dims}
	if k.f32 != nil {
		keys.f32, vals.f32 = k.f32[at:at+size], k.f32[values:values+size]
	} else {
		keys.bf16, vals.bf16 = k.bf16[at:at+size], k.bf16[values:values+size]
	}
	return keys, vals
}

// distance returns how many bytes after m next begins.
func (m kvMatrix) distance(next kvMatrix) int {
	if m.f32 != nil {
		return int(uintptr(unsafe.Pointer(&next.f32[0])) - uintptr(unsafe.Pointer(&m.f32[0])))
	}
	return int(uintptr(unsafe.Pointer(&next.bf16[0])) - uintptr(unsafe.Pointer(&m.bf16[0])))
}

// copyRows copies rows first … last-1 of another matrix of the same shape and sets all other rows to 0.
func (m kvMatrix) copyRows(from kvMatrix, first, last int) {
	clear(m.bf16)
	clear(m.f32)
	if m.f32 != nil {
		copy(m.f32[first*m.cols:last*m.cols], from.f32[first*m.cols:])
		return
	}
	for i := first; i < last; i++ {
		at := i/2*m.cols*2 + i%2
		for j := range m.cols {
			m.bf16[at+2*j] = from.bf16[at+2*j]
		}
	}
}
