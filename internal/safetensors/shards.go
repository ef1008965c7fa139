package safetensors

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"phi3/internal/regular"
	"phi3/internal/weight"
)

// MaxShards bounds the files of a checkpoint. Phi-3 models have 1 to 6, the largest of other families
// some hundreds.
const MaxShards = 1024

// Shards returns the names of the files that model.safetensors.index.json in fsys names, sorted. It does
// not check that the files exist.
func Shards(fsys fs.FS) ([]string, error) {
	tensorsIn, err := readIndex(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	return slices.Sorted(maps.Keys(tensorsIn)), nil
}

// shard is an open file of a checkpoint, and its tensors by name.
type shard struct {
	*File
	tensors map[string]*weight.Tensor
	info    fs.FileInfo
}

// shards are the open files. Names that lead to the same file share one entry, so that an index of many
// names and a directory of as many links cannot multiply the memory of one file's header.
type shards []*shard

func (s *shards) open(fsys fs.FS, name string) (*shard, error) {
	opened, _, err := regular.OpenFS(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = opened.Close() }()
	info, err := opened.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, regular.Reason(err))
	}
	for _, other := range *s {
		if os.SameFile(info, other.info) {
			return other, nil
		}
	}
	f, err := readFile(opened, name)
	if err != nil {
		return nil, err
	}
	x := &shard{f, make(map[string]*weight.Tensor, len(f.Tensors)), info}
	for i := range f.Tensors {
		x.tensors[f.Tensors[i].Name] = &f.Tensors[i]
	}
	*s = append(*s, x)
	return x, nil
}
