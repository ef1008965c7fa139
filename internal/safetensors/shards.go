package safetensors

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// Shards returns the names of the files that model.safetensors.index.json in fsys names, sorted. Whether they are there is not looked at.
func Shards(fsys fs.FS) ([]string, error) {
	tensorsIn, err := readIndex(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	return slices.Sorted(maps.Keys(tensorsIn)), nil
}
