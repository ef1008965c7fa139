package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/weight"
)

// Checkpoint is a GGUF file, or all parts of a split one. As a file system it holds the files that a Hugging
// Face checkpoint has beside its weights, made from the metadata.
type Checkpoint struct {
	Meta  Metadata // of the first part
	Notes []string // sentences for the user about keys that the file lacks

	parts []*part
	view  files
}

// A part is one open file.
type part struct {
	name   string
	header *header
	data   []byte // the whole file, mapped
	unmap  func() error
	users  *atomic.Int32 // of the mapping
}

// MaxParts bounds the files of a split model. Real ones have 2 to 50.
const MaxParts = 1024

// Open opens the GGUF file name of fsys. If it is a part of a split model, Open opens all parts, which are in
// the same directory. The caller must Close the checkpoint. An error names the file.
func Open(fsys fs.FS, name string) (_ *Checkpoint, err error) {
	c, err := OpenAny(fsys, name)
	if err != nil {
		return nil, err
	}
	if err := c.makeView(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// OpenAny is [Open] for a model of any architecture, for tools. As a file system the result is empty.
func OpenAny(fsys fs.FS, name string) (_ *Checkpoint, err error) {
	c := &Checkpoint{view: files{tokenizer: func() (map[string][]byte, error) { return nil, nil }}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	names, err := c.openFirst(fsys, name)
	if err != nil {
		return nil, err
	}
	for i, other := range names {
		if i == 0 {
			continue
		}
		p, err := openPart(fsys, other)
		if err != nil {
			return nil, missingPart(err, other)
		}
		c.parts = append(c.parts, p)
		if err := p.checkSplit(i, len(names)); err != nil {
			return nil, err
		}
	}
	c.Meta = c.parts[0].header.meta
	return c, c.checkTensors()
}

// openFirst opens the first part of the model that a file belongs to. It returns the names of all parts.
func (c *Checkpoint) openFirst(fsys fs.FS, name string) ([]string, error) {
	names := Parts(name)
	p, err := openPart(fsys, names[0])
	if err != nil && len(names) > 1 {
		err = missingPart(err, names[0])
	}
	if err != nil {
		return nil, err
	}
	c.parts = append(c.parts, p)
	count, err := p.header.meta.Int(splitCountKey, 0)
	switch {
	case err != nil:
		return nil, err
	case count <= 1 && len(names) > 1: // a whole model with the name of a part
		if name != names[0] {
			return nil, fmt.Errorf("%s: is a whole model, so %s is not a part of it", names[0],
				path.Base(name))
		}
		names = names[:1]
	case count > 1 && len(names) == 1:
		return nil, fmt.Errorf("%s: is a part of a model of %d parts, whose names must end in "+
			"-00001-of-%05[2]d.gguf and so on", name, count)
	}
	if len(names) > 1 {
		err = p.checkSplit(0, len(names))
	}
	return names, err
}

// missingPart explains the error of a part that is not there.
func missingPart(err error, name string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%s: this part of the model is missing; a split model needs all its parts in one "+
		"directory (%w)", name, fs.ErrNotExist)
}

// openPart opens, maps and checks one file.
func openPart(fsys fs.FS, name string) (*part, error) {
	opened, _, err := regular.OpenFS(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = opened.Close() }() // the mapping outlives it; nothing was written
	p := &part{name: name, users: new(atomic.Int32)}
	if p.data, p.unmap, err = regular.Map(opened); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p.users.Add(1)
	err = weight.GuardHeader(func() (err error) { // the file may shrink while it is read
		p.header, err = parse(name, p.data)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), p.close())
	}
	return p, nil
}

// close ends one use of the mapping. The last one unmaps the file.
func (p *part) close() error {
	if p.users.Add(-1) > 0 {
		return nil
	}
	return p.unmap()
}

// bytes returns the bytes of a tensor.
func (p *part) bytes(t *tensorInfo) []byte {
	begin := p.header.data + t.offset
	return p.data[begin : begin+t.size : begin+t.size]
}

// Close releases the files. The result of Weights stays usable. It may be called twice.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, p := range c.parts {
		errs = append(errs, p.close())
	}
	c.parts = nil
	return errors.Join(errs...)
}

// The keys of a split model. A part counts from 0 in its metadata and from 1 in its name.
const (
	splitNoKey      = "split.no"
	splitCountKey   = "split.count"
	splitTensorsKey = "split.tensors.count"
)

var partName = regexp.MustCompile(`^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

// Parts returns the names of all files of the model that a GGUF file belongs to, in order: those of the parts
// if the name is one of a part, such as dir/model-00002-of-00003.gguf, and otherwise name alone.
func Parts(name string) []string {
	m := partName.FindStringSubmatch(name)
	if m == nil {
		return []string{name}
	}
	number, _ := strconv.Atoi(m[2])
	count, _ := strconv.Atoi(m[3])
	if number < 1 || number > count || count > MaxParts {
		return []string{name}
	}
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%05d-of-%s.gguf", m[1], i+1, m[3])
	}
	return names
}

// checkSplit compares what a part says about itself with its name.
func (p *part) checkSplit(number, count int) error {
	for _, k := range []struct {
		key  string
		want int
	}{{splitNoKey, number}, {splitCountKey, count}} {
		got, err := p.header.meta.Int(k.key, -1)
		if err != nil {
			return err
		}
		if got != int64(k.want) {
			return p.header.meta.Errorf(k.key, "is %d, but the file has the name of part %d of %d (%d "+
				"expected)", got, number+1, count, k.want)
		}
	}
	return nil
}

// checkTensors checks that no name occurs in two parts, that no tensor has the name that [HuggingFaceName]
// gives another one, and that all tensors of a split model are there.
func (c *Checkpoint) checkTensors() error {
	in := map[string]*part{}
	for _, p := range c.parts {
		for _, t := range p.header.tensors {
			if name, ok := FileName(t.name); ok {
				return fmt.Errorf("%s: tensor %s has the name that Hugging Face gives a tensor; in a GGUF "+
					"file its name is %s", p.name, show.Brief(t.name), name)
			}
			if other := in[t.name]; other != nil {
				return fmt.Errorf("%s: tensor %s is in %s too", p.name, show.Brief(t.name), other.name)
			}
			in[t.name] = p
		}
	}
	want, err := c.Meta.Int(splitTensorsKey, int64(len(in)))
	if err == nil && want != int64(len(in)) {
		err = c.Meta.Errorf(splitTensorsKey, "is %d, but the parts have %d tensors", want, len(in))
	}
	return err
}

// tensor returns a tensor by its name in the file, without its data.
func (c *Checkpoint) tensor(name string) (*part, *tensorInfo) {
	for _, p := range c.parts {
		for i := range p.header.tensors {
			if p.header.tensors[i].name == name {
				return p, &p.header.tensors[i]
			}
		}
	}
	return nil, nil
}

// Weights is the tensors of a GGUF checkpoint under the names that Hugging Face gives them. It is a
// [weight.Source].
type Weights struct {
	parts   []*part
	tensors map[string]*weight.Tensor
}

// Weights returns the tensors. The caller must Close them.
func (c *Checkpoint) Weights() *Weights {
	w := &Weights{tensors: map[string]*weight.Tensor{}}
	for _, p := range c.parts {
		p.users.Add(1)
		w.parts = append(w.parts, p)
		for i := range p.header.tensors {
			t := &p.header.tensors[i]
			if t.name == LongFactorsName || t.name == ShortFactorsName {
				continue // they are in config.json
			}
			name := HuggingFaceName(t.name)
			w.tensors[name] = &weight.Tensor{
				Name: name, Format: t.format, Shape: t.shape, Data: p.bytes(t),
				File: p.name, Offset: int64(p.header.data + t.offset),
			}
		}
	}
	return w
}

// Tensor returns the tensor of that name, and whether there is one.
func (w *Weights) Tensor(name string) (*weight.Tensor, bool) {
	t, ok := w.tensors[name]
	return t, ok
}

// Names returns the names of all tensors, sorted.
func (w *Weights) Names() []string { return slices.Sorted(maps.Keys(w.tensors)) }

// Files returns the names of the files, in the order of the parts.
func (w *Weights) Files() []string {
	var names []string
	for _, p := range w.parts {
		names = append(names, p.name)
	}
	return names
}

// Close releases the files and empties the Data of every tensor. It may be called twice.
func (w *Weights) Close() error {
	for _, t := range w.tensors {
		t.Data = nil // a later use finds an empty slice and does not fault
	}
	var errs []error
	for _, p := range w.parts {
		errs = append(errs, p.close())
	}
	w.parts = nil
	return errors.Join(errs...)
}
