package model

import (
	"io/fs"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// Checkpoint is the files of a model, opened and checked against the configuration. Opening reads only the
// headers of the weights' files, so it is fast for files of any size. The exception is a tied head: see tie.
type Checkpoint struct {
	Config  *Config
	Tensors []*weight.Tensor // those of [Config.Tensors], in that order
	Unused  []string         // names of tensors that the architecture does not use

	files   *safetensors.Checkpoint
	weights *Weights
	table   []tensorRow // of weights, with the tensors
}

// Open opens the checkpoint in fsys. An error names the file and the mistake in it. It wraps
// [safetensors.ErrMissing] if the configuration is correct and the weights are missing. The caller must
// Close the checkpoint.
func Open(fsys fs.FS) (_ *Checkpoint, err error) {
	config, err := ReadConfig(fsys)
	if err != nil {
		return nil, err
	}
	files, err := safetensors.Open(fsys)
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
		return nil, err
	}
	for _, row := range c.table {
		c.Tensors = append(c.Tensors, row.tensor)
	}
	return c, nil
}

// DataBytes returns the size of all tensors of the checkpoint, with those that the model does not use.
func (c *Checkpoint) DataBytes() int64 { return c.files.DataBytes() }

// Files returns the names of the files that hold tensors, sorted.
func (c *Checkpoint) Files() []string { return c.files.Files() }

// Close unmaps the files and empties the Data of the tensors.
func (c *Checkpoint) Close() error { return c.files.Close() }
