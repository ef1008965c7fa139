package gguf

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"phi3/internal/regular"
	"phi3/internal/show"
)

// IsName reports whether a file's name is that of a GGUF file.
func IsName(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".gguf") }

// Model is a model in a directory of GGUF files: one file, or all parts of a split one.
type Model struct {
	Name  string // of the file, or of the first part
	Bytes int64  // of all parts that are there
}

// Models groups the names of a directory's files into models, sorted by name. Of a split model that lacks its
// first part, Name is the first part that is there. Other files than GGUF files are left out, and so are the
// image encoders (mmproj) that lie beside some models.
func Models(sizes map[string]int64) []Model {
	found := map[string]*Model{} // by the name of the first part
	for name, size := range sizes {
		if !IsName(name) ||
			strings.HasPrefix(path.Base(name), "mmproj") {
			continue
		}
		first := Parts(name)[0]
		if found[first] == nil {
			found[first] = &Model{Name: name}
		}
		m := found[first]
		m.Name, m.Bytes = min(m.Name, name), m.Bytes+size
	}
	var list []Model
	for _, m := range found {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Model) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// ModelsIn returns the models of the GGUF files at the top of fsys.
func ModelsIn(fsys fs.FS) ([]Model, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, regular.Reason(err)
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		if info, err := fs.Stat(fsys, e.Name()); err == nil && info.Mode().IsRegular() {
			sizes[e.Name()] = info.Size()
		}
	}
	return Models(sizes), nil
}

// Choice is the second half of a sentence: the models with their sizes, of which a user must choose one.
func Choice(list []Model) string {
	const most = 20
	var b strings.Builder
	for i, m := range list {
		if i == most {
			fmt.Fprintf(&b, ", and %d more", len(list)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s)", show.Brief(m.Name), show.Bytes(m.Bytes))
	}
	return b.String()
}
