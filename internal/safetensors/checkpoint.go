package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/strictjson"
	"phi3/internal/weight"
)

const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"

	maxIndexBytes = 16 << 20 // real ones have 20 to 50 KB
)

// ErrMissing is wrapped by errors that say that a checkpoint, or one of its files, is missing. The files that
// exist are correct.
var ErrMissing = errors.New("the weights are missing")

// missing is an [ErrMissing] with its own message.
type missing struct{ error }

func (missing) Is(target error) bool { return target == ErrMissing }

// Checkpoint is all tensors of a checkpoint directory, from one file or several. It is a [weight.Source].
type Checkpoint struct {
	files   []*File // sorted by name
	tensors map[string]*weight.Tensor
}

// Open opens the checkpoint in fsys. It reads model.safetensors if it exists, as Hugging Face does, and
// otherwise the shards that model.safetensors.index.json names. The index decides which tensors belong to the
// checkpoint. A tensor in the index must be in the file that the index gives. A tensor of a shard that is not
// in the index is checked with its file and then ignored, as in Hugging Face. The caller must Close the
// checkpoint.
func Open(fsys fs.FS) (*Checkpoint, error) {
	if _, err := fs.Stat(fsys, singleName); err == nil {
		return openSingle(fsys)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", singleName, regular.Reason(err))
	}
	if _, err := fs.Stat(fsys, indexName); err == nil {
		return openShards(fsys)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", indexName, regular.Reason(err))
	}
	return nil, explainMissing(fsys)
}

// Tensor returns the tensor of that name, and whether there is one.
func (c *Checkpoint) Tensor(name string) (*weight.Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Names returns the names of all tensors, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// DataBytes returns the size of all tensors together, in bytes.
func (c *Checkpoint) DataBytes() int64 {
	var n int64
	for _, t := range c.tensors {
		n += int64(len(t.Data))
	}
	return n
}

// Files returns the names of the checkpoint's files, sorted.
func (c *Checkpoint) Files() []string {
	names := make([]string, len(c.files))
	for i, f := range c.files {
		names[i] = f.Name
	}
	return names
}

// Close unmaps every file and empties the Data of every tensor. It may be called twice.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func openSingle(fsys fs.FS) (*Checkpoint, error) {
	f, err := ReadFile(fsys, singleName)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{files: []*File{f}, tensors: make(map[string]*weight.Tensor, len(f.Tensors))}
	for i := range f.Tensors {
		c.tensors[f.Tensors[i].Name] = &f.Tensors[i]
	}
	return c, nil
}

func openShards(fsys fs.FS) (*Checkpoint, error) {
	tensorsIn, err := readIndex(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	c := &Checkpoint{tensors: map[string]*weight.Tensor{}}
	var opened shards
	for _, name := range slices.Sorted(maps.Keys(tensorsIn)) {
		f, err := opened.open(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			err = missing{fmt.Errorf("%s: names the shard %s, which is missing", indexName, name)}
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if !slices.Contains(c.files, f.File) {
			c.files = append(c.files, f.File)
		}
		for _, tensor := range tensorsIn[name] {
			t := f.tensors[tensor]
			if t == nil {
				return nil, errors.Join(fmt.Errorf("%s: tensor %q: %s says it is here, but it is not", name,
					show.Brief(tensor), indexName), c.Close())
			}
			c.tensors[tensor] = t
		}
	}
	return c, nil
}

// readIndex returns the tensors of each shard that the index names.
func readIndex(fsys fs.FS) (tensorsIn map[string][]string, err error) {
	text, err := strictjson.ReadFile(fsys, indexName, maxIndexBytes)
	if err != nil {
		return nil, err
	}
	r, err := newJSONReader(text)
	if err != nil {
		return nil, err
	}
	err = r.object(func(key string) error {
		if key != "weight_map" { // metadata.total_size may be absent or wrong
			r.Skip()
			return nil
		}
		tensorsIn = map[string][]string{}
		err := r.object(func(tensor string) error {
			file, err := r.str()
			if err == nil {
				err = checkShardName(file)
			}
			if err != nil {
				return fmt.Errorf("tensor %q: file name %w", show.Brief(tensor), err)
			}
			tensorsIn[file] = append(tensorsIn[file], tensor)
			return nil
		})
		if err != nil {
			return fmt.Errorf("weight_map: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	switch n := len(tensorsIn); {
	case n == 0:
		return nil, errors.New("has no weight_map, or an empty one")
	case n > MaxShards:
		return nil, fmt.Errorf("names %d shards, over the limit of %d", n, MaxShards)
	}
	return tensorsIn, nil
}

// checkShardName rejects names that lead out of the checkpoint's directory.
func checkShardName(name string) error {
	switch {
	case strings.ContainsAny(name, `/\:`) || strings.Contains(name, ".."):
		return fmt.Errorf("%q leads out of the checkpoint's directory", show.Brief(name))
	case !strings.HasSuffix(name, ".safetensors"):
		return fmt.Errorf("%q does not end in .safetensors", show.Brief(name))
	}
	return nil
}

// explainMissing returns the error for a directory without a checkpoint. It says what the directory holds
// instead.
func explainMissing(fsys fs.FS) error {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return fmt.Errorf("cannot look for %s: %w", singleName, regular.Reason(err))
	}
	for _, e := range entries {
		if name := e.Name(); name == singleName || name == indexName {
			return fmt.Errorf("%s is a link to a file that does not exist", name)
		}
	}
	neither := fmt.Sprintf("neither %s nor %s is here", singleName, indexName)
	if other := OtherWeights(fsys); other != "" {
		return fmt.Errorf("%s, %s", neither, other)
	}
	return missing{fmt.Errorf("%s: not a Hugging Face checkpoint directory?", neither)}
}

// OtherWeights says which files of a directory look like weights in a format that this program does not
// read. The text is the second half of a sentence that begins with what is missing. It is "" if there are
// no such files.
func OtherWeights(fsys fs.FS) string {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return ""
	}
	var weights []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == singleName || name == indexName:
			return ""
		case name == "adapter_config.json" || name == "adapter_model.safetensors" ||
			name == "adapter_model.bin":
			return fmt.Sprintf("only a LoRA adapter (%s): merge it into its base model first", name)
		case strings.HasSuffix(name, ".safetensors"), strings.HasSuffix(name, ".bin"), strings.HasSuffix(name,
			".gguf"),
			strings.HasSuffix(name, ".pt"), strings.HasSuffix(name, ".pth"), strings.HasSuffix(name, ".onnx"):
			weights = append(weights, name)
		}
	}
	if len(weights) == 0 {
		return ""
	}
	if len(weights) > 3 {
		weights = append(weights[:3], "…")
	}
	return fmt.Sprintf("only %s: this program reads weights in safetensors and GGUF files",
		strings.Join(weights, ", "))
}
