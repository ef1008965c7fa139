package randomckpt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"phi3/internal/model"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

const indexFile = "model.safetensors.index.json"

// metadata is what Hugging Face writes into each shard. Its loader refuses a file without it.
var metadata = map[string]string{"format": "pt"}

// Options describes the checkpoint to write.
type Options struct {
	Dir              string        // the checkpoint's directory; made if it does not exist
	Config           []byte        // config.json, of a Phi-3 model
	GenerationConfig []byte        // generation_config.json; nil: its ids are taken from Config
	TokenizerDir     string        // copy the tokenizer's files from there; "": write none
	Format           weight.Format // BF16, F16 or F32
	Seed             uint64
	ShardBytes       int64                         // the most bytes of tensors in a shard
	Force            bool                          // replace the checkpoint in Dir; other files stay
	Progress         func(file string, size int64) // called when a shard is complete; may be nil
}

// Write writes a checkpoint. Each file gets its name only when it is complete, and the index is written last,
// so that a program that reads the directory does not mistake an unfinished checkpoint for a complete one.
// After an error or the end of ctx, the complete files stay.
func Write(ctx context.Context, o Options) error {
	dtypeName, ok := map[weight.Format]string{
		weight.BF16: "bfloat16", weight.F16: "float16", weight.F32: "float32",
	}[o.Format]
	if !ok {
		return fmt.Errorf("cannot make weights of type %q, only of bf16, f16 or f32", o.Format)
	}
	if o.ShardBytes < 1 {
		return fmt.Errorf("a shard cannot hold %d bytes", o.ShardBytes)
	}
	cfg, err := model.ParseConfig(o.Config)
	if err != nil {
		return err
	}
	small, err := smallFiles(o, dtypeName)
	if err != nil {
		return err
	}
	if err := prepare(o.Dir, o.Force); err != nil {
		return err
	}

	for name, text := range small {
		if err := writeFile(o.Dir, name, contents(text)); err != nil {
			return err
		}
	}
	list := shards(cfg.Tensors(), o.Format, o.ShardBytes)
	matrix, norm := newTable(normal, o.Format), newTable(nearOne, o.Format)
	var total int64
	weightMap := map[string]string{}
	for _, s := range list {
		sources := make([]safetensors.Entry, len(s.tensors))
		width := o.Format.Bits() / 8
		var size int64
		for i, t := range s.tensors {
			values := matrix
			if len(t.Shape) == 1 {
				values = norm
			}
			sources[i] = safetensors.Entry{
				Name: t.Name, Format: o.Format, Shape: t.Shape,
				WriteTo: func(out io.Writer) error {
					return values.writeTensor(ctx, out, elems(t), width, tensorKey(o.Seed, t.Name))
				},
			}
			weightMap[t.Name] = s.file
			size += elems(t) * int64(width)
		}
		err := writeFile(o.Dir, s.file, func(out io.Writer) error {
			return safetensors.Write(out, sources, metadata)
		})
		if err != nil {
			return err
		}
		total += size
		if o.Progress != nil {
			o.Progress(s.file, size)
		}
	}
	if len(list) == 1 {
		return nil
	}
	index, err := encode(map[string]any{
		"metadata":   map[string]int64{"total_size": total},
		"weight_map": weightMap,
	})
	if err != nil {
		return err
	}
	return writeFile(o.Dir, indexFile, contents(index))
}

// smallFiles returns the contents of all files without weights.
func smallFiles(o Options, dtypeName string) (map[string][]byte, error) {
	configText, err := setDType(o.Config, dtypeName)
	if err != nil {
		return nil, err
	}
	generation := o.GenerationConfig
	if generation == nil {
		if generation, err = generationConfig(o.Config); err != nil {
			return nil, err
		}
	}
	files := map[string][]byte{"config.json": configText, "generation_config.json": generation}
	if o.TokenizerDir == "" {
		return files, nil
	}
	for _, name := range []string{
		"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	} {
		text, err := os.ReadFile(filepath.Join(o.TokenizerDir, name))
		if errors.Is(err, fs.ErrNotExist) && name != "tokenizer.json" {
			continue // not every checkpoint has these
		}
		if err != nil {
			return nil, fmt.Errorf("tokenizer: %w", err)
		}
		files[name] = text
	}
	return files, nil
}

// oldWeights matches the files of an old checkpoint, which must not stay beside a new one, and the
// temporary files of a killed run.
var oldWeights = regexp.MustCompile(`^model\.safetensors(\.index\.json)?$|` +
	`^model-\d{5}-of-\d{5}\.safetensors$|^\..+\.unfinished-\d+$`)

// prepare makes dir. If dir is not empty and force is set, it deletes the weights in it.
func prepare(dir string, force bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 && !force {
		return fmt.Errorf("%s is not empty; --force replaces the checkpoint in it", dir)
	}
	for _, e := range entries {
		if oldWeights.MatchString(e.Name()) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func contents(text []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}
}

// writeFile calls write with a temporary file beside the destination, and renames the file when it is
// complete.
func writeFile(dir, name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(dir, "."+name+".unfinished-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // harmless if it is closed already
			_ = os.Remove(f.Name())
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20) // for norms and headers; larger writes are not buffered
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil { // CreateTemp makes it readable only for its owner
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}
