package model

import (
	"context"
	"io/fs"
	"slices"

	"phi3/internal/gguf"
	"phi3/internal/quantize"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// Checkpoint is the files of a model, opened and checked against the configuration. Opening reads only the
// headers of the weights' files, so it is fast for files of any size. The exception is a tied head: see tie.
type Checkpoint struct {
	Config *Config
	// Tensors are those of [Config.Tensors], in that order. Those that [Checkpoint.Quantize] has changed have
	// no Data: see [Checkpoint.Data].
	Tensors []*weight.Tensor
	Unused  []string // names of tensors that the architecture does not use

	files   files
	weights *Weights
	table   []tensorRow      // of weights, with the tensors
	stored  []*weight.Tensor // Tensors as they are in the files
}

// files is where the tensors come from: a [safetensors.Checkpoint] or [gguf.Weights].
type files interface {
	weight.Source
	Files() []string
	Close() error
}

// openFiles opens the files that hold the tensors.
func openFiles(fsys fs.FS) (files, error) {
	if c, ok := fsys.(*gguf.Checkpoint); ok {
		return c.Weights(), nil
	}
	return safetensors.Open(fsys)
}

// Open opens the checkpoint in fsys: a directory, or a [gguf.Checkpoint]. An error names the file and the
// mistake in it. It wraps [safetensors.ErrMissing] if the configuration is correct and the weights are
// missing. The caller must Close the checkpoint.
func Open(fsys fs.FS) (_ *Checkpoint, err error) {
	config, err := ReadConfig(fsys)
	if err != nil {
		return nil, err
	}
	files, err := openFiles(fsys)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = files.Close()
		}
	}()
	c := &Checkpoint{Config: config, files: files, weights: new(Weights)}
	if c.table, err = tie(config, c.weights, files); err != nil {
		return nil, err
	}
	if c.Unused, err = match(c.table, files); err != nil {
		return nil, explained(fsys, err)
	}
	for _, row := range c.table {
		c.Tensors = append(c.Tensors, row.tensor)
	}
	c.stored = slices.Clone(c.Tensors)
	return c, nil
}

// explained is an error about config.json. If it was made from a GGUF file, the error names the keys there.
func explained(fsys fs.FS, err error) error {
	if c, ok := fsys.(*gguf.Checkpoint); ok {
		return c.Explain(err)
	}
	return err
}

// Quantize gives the matrices the formats of the recipe. It changes only the descriptions in Tensors:
// [Checkpoint.Data] quantizes. An error names a matrix that is quantized already.
func (c *Checkpoint) Quantize(r quantize.Recipe) error {
	tensors, err := c.Config.Quantized(c.stored, r)
	if err != nil {
		return err
	}
	c.Tensors = tensors
	for i, t := range tensors {
		c.table[i].tensor = t
	}
	return nil
}

// Quantized describes a checkpoint's tensors, which are those of [Config.Tensors], in the formats of a
// recipe. Those that the recipe changes have no Data. An error names a matrix that is quantized already.
func (c *Config) Quantized(tensors []*weight.Tensor, r quantize.Recipe) ([]*weight.Tensor, error) {
	w := new(Weights)
	made := slices.Clone(tensors)
	for i, row := range w.table(c) {
		t, f := tensors[i], r.Layers
		if row.field == &w.EmbedTokens || row.field == &w.Head {
			f = r.Embeddings
		}
		f, err := quantize.FormatOf(t, f)
		if err != nil {
			return nil, err
		}
		if f != t.Format {
			made[i] = &weight.Tensor{Name: t.Name, Format: f, Shape: t.Shape, File: t.File, Offset: t.Offset}
		}
	}
	return made, nil
}

// Stored returns the tensors as they are in the files, in the order of Tensors.
func (c *Checkpoint) Stored() []*weight.Tensor { return c.stored }

// Data returns tensor i of Tensors with its Data: a tensor of the files, or a new one, quantized now. An
// error names the file and the tensor. Data stops when ctx is done.
func (c *Checkpoint) Data(ctx context.Context, i int) (*weight.Tensor, error) {
	if c.Tensors[i] == c.stored[i] {
		return c.stored[i], nil
	}
	return quantize.Tensor(ctx, c.stored[i], c.Tensors[i].Format)
}

// Files returns the names of the files that hold tensors, sorted.
func (c *Checkpoint) Files() []string { return c.files.Files() }

// Close unmaps the files and empties the Data of the tensors.
func (c *Checkpoint) Close() error { return c.files.Close() }
