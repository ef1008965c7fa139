package model

import (
	"io/fs"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// Checkpoint is the files of a model, open and checked against its configuration, before anything of it goes
// to a device. Of the weights' bytes none has been read, so opening takes the time of the headers, however
// large the files are; see tie for the exception.
type Checkpoint struct {
	Config  *Config
	Tensors []*weight.Tensor // those of [Config.Tensors], in that order
	Unused  []string         // names of tensors that the architecture has no place for

	files   *safetensors.Checkpoint
	weights *Weights
	table   []tensorRow // of weights, with the tensors
}

// Open opens the checkpoint in fsys. An error names the file and what in it is wrong; it wraps
// [safetensors.ErrMissing] where the configuration is in order and the weights are not there. The caller must
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

// DataBytes is the size of the checkpoint's tensors, those without a place among them.
func (c *Checkpoint) DataBytes() int64 { return c.files.DataBytes() }

// Files returns the names of the files that hold tensors, sorted.
func (c *Checkpoint) Files() []string { return c.files.Files() }

// Close unmaps the files; the tensors' data are gone then.
func (c *Checkpoint) Close() error { return c.files.Close() }
