// Package export writes a checkpoint as one GGUF file, with the weights as they are stored or quantized.
package export

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"phi3/internal/gguf"
	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/weight"
)

// A Plan is a GGUF file to write.
type Plan struct {
	Stored []*weight.Tensor // the checkpoint's tensors
	Made   []*weight.Tensor // the same in the file, without Data

	checkpoint *model.Checkpoint
	metadata   []gguf.KV
	factors    []gguf.Entry // of long RoPE
}

// NewPlan reads the headers of a checkpoint. recipe nil keeps matrices as they are stored. title is for the
// file's metadata. The caller must Close the plan. An error says why GGUF cannot hold the checkpoint.
func NewPlan(fsys fs.FS, title string, recipe *quantize.Recipe) (_ *Plan, err error) {
	c, err := model.Open(fsys)
	if err != nil {
		return nil, err
	}
	p := &Plan{checkpoint: c, Stored: c.Stored()}
	defer func() {
		if err != nil {
			_ = p.Close() // the error is more useful
		}
	}()
	if c.Config.Head != model.LMHead {
		return nil, fmt.Errorf("it is a %s: GGUF files of the Phi-3 architecture have only an LM head",
			c.Config.Head)
	}
	if recipe != nil {
		if err := c.Quantize(*recipe); err != nil {
			return nil, err
		}
	}
	p.Made = slices.Clone(c.Tensors)
	for i, t := range p.Made {
		if len(t.Shape) == 1 { // norms: llama.cpp computes with float32 only, and a float32 has their values
			p.Made[i] = &weight.Tensor{Name: t.Name, Format: weight.F32, Shape: t.Shape}
		}
	}
	return p, p.describe(fsys, title)
}

// Bytes returns the size of the file's tensors.
func (p *Plan) Bytes() int64 { return weight.Sum(p.Made).Bytes }

// Close releases the checkpoint.
func (p *Plan) Close() error { return p.checkpoint.Close() }

// Write writes the file. The file gets its name when it is complete; after an error no file is left. One
// tensor at a time is in memory. Write stops soon after ctx is done. progress is called after each tensor,
// with the bytes of the tensors that are written and those of all.
func (p *Plan) Write(ctx context.Context, path string, progress func(done, total int64)) error {
	var done int64
	entries := slices.Clone(p.factors)
	for i, t := range p.Made {
		name, ok := gguf.FileName(p.checkpoint.Config.Tensors()[i].Name)
		if !ok {
			return fmt.Errorf("tensor %s has no name in GGUF", t.Name)
		}
		entries = append(entries, gguf.Entry{
			Name: name, Format: t.Format, Shape: t.Shape,
			WriteTo: func(w io.Writer) error {
				if err := p.write(ctx, w, i); err != nil {
					return err
				}
				done += t.Bytes()
				progress(done, p.Bytes())
				return nil
			},
		})
	}
	return gguf.WriteFile(path, p.metadata, entries)
}

// write writes the bytes of tensor i.
func (p *Plan) write(ctx context.Context, w io.Writer, i int) error {
	t, err := p.checkpoint.Data(ctx, i)
	if err != nil {
		return err
	}
	return weight.Guard([]*weight.Tensor{t}, func() error {
		if p.Made[i].Format != t.Format { // a norm
			return writeFloats(w, t.Float32s())
		}
		const size = 8 << 20 // bytes between two checks of ctx
		for piece := range slices.Chunk(t.Data, size) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeFloats(w io.Writer, values []float32) error {
	return binary.Write(w, binary.LittleEndian, values)
}
