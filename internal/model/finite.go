package model

import (
	"context"
	"encoding/binary"
	"fmt"

	"phi3/internal/weight"
)

// FindNotFinite reads every weight of the checkpoint. It returns an error that names the file, the tensor
// and the place of the first value that is NaN or infinite, or nil if there is none. It takes as long as
// reading the checkpoint. It stops when ctx is done.
func (m *Model) FindNotFinite(ctx context.Context) error {
	tensors := m.checkpoint.stored // quantizing them has found nothing
	return weight.Guard(tensors, func() error { return findNotFinite(ctx, tensors) })
}

func findNotFinite(ctx context.Context, tensors []*weight.Tensor) error {
	for _, t := range tensors {
		const piece = 1 << 22 // weights between two checks of ctx: a whole number of blocks of every format
		for from := 0; from < t.Elems(); from += piece {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(piece, t.Elems()-from)
			i := firstNotFinite(t.Data[t.Format.RowBytes(from):t.Format.RowBytes(from+n)], t.Format)
			if i < 0 {
				continue
			}
			i += from
			at := []int{i}
			if len(t.Shape) == 2 {
				at = []int{i / t.Shape[1], i % t.Shape[1]}
			}
			return fmt.Errorf("%s: tensor %q is NaN or infinite at %v", t.File, t.Name, at)
		}
	}
	return nil
}

// firstNotFinite returns the index of the first element whose exponent is all ones, or -1. Of a quantized
// format, that is an element that becomes NaN or infinite.
func firstNotFinite(data []byte, format weight.Format) int {
	if format.Quantized() {
		weights, bytes := format.Block()
		block := make([]uint16, weights)
		for i := range len(data) / bytes {
			weight.Unpack(block, data[i*bytes:][:bytes], format)
			for k, v := range block {
				if v&0x7f80 == 0x7f80 {
					return i*weights + k
				}
			}
		}
		return -1
	}
	if format == weight.F32 {
		const exponent = 0x7f800000
		for i := range len(data) / 4 {
			if binary.LittleEndian.Uint32(data[4*i:])&exponent == exponent {
				return i
			}
		}
		return -1
	}
	exponent := uint16(0x7f80) // of bfloat16
	if format == weight.F16 {
		exponent = 0x7c00
	}
	for i := range len(data) / 2 {
		if binary.LittleEndian.Uint16(data[2*i:])&exponent == exponent {
			return i
		}
	}
	return -1
}
