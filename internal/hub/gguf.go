package hub

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"phi3/internal/gguf"
	"phi3/internal/show"
)

// Repositories of GGUF files have one model in several types, each in a file of its own, which needs no
// other file. So phi3 downloads one of them. It treats them as a checkpoint's weights elsewhere: hashes,
// locks, links.

var ggufFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}\.gguf$`)

// isGGUF reports whether a name is that of a GGUF file at the top of a repository. Such a name is safe as a
// path.
func isGGUF(name string) bool { return ggufFile.MatchString(name) && !strings.Contains(name, "..") }

// checkFile refuses a malformed name of a GGUF file before it becomes a path or an address.
func checkFile(file string) error {
	if file == "" || isGGUF(file) {
		return nil
	}
	return fmt.Errorf("%q is not the name of a GGUF file at the top of a repository, such as "+
		"Phi-3-mini-4k-instruct-q4.gguf", show.Clip(file, maxQuoted))
}

// chosen returns the GGUF file to download: the one that the user chose, or the only one of a repository
// without safetensors. It returns "" if safetensors are to be downloaded.
func (r *revision) chosen(file string) (string, error) {
	_, whole := r.files[weightsName]
	_, sharded := r.files[indexName]
	if file == "" && (whole || sharded) {
		return "", nil
	}
	sizes := map[string]int64{}
	for name, f := range r.files {
		if isGGUF(name) {
			sizes[name] = max(0, f.size)
		}
	}
	list := gguf.Models(sizes)
	switch _, ok := sizes[file]; {
	case ok:
		return file, nil
	case file != "" && len(list) == 0:
		return "", fmt.Errorf("has no file %s, and no GGUF files at all", file)
	case file != "":
		return "", fmt.Errorf("has no file %s; it has %s", file, gguf.Choice(list))
	case len(list) == 0:
		return "", r.withoutWeights()
	case len(list) == 1:
		return list[0].Name, nil
	}
	return "", fmt.Errorf("has %d models as GGUF files: choose one with --gguf: %s", len(list),
		gguf.Choice(list))
}

// parts lists the files of a GGUF model.
func (r *revision) parts(first string) ([]file, error) {
	return r.named(gguf.Parts(first), "the model has the part %q, which the repository does not have")
}

// missingParts returns the files that the cache lacks of a GGUF model. If file is "", any model of the
// snapshot counts: the one that lacks least. ok is false if the snapshot has none.
func (s *Snapshot) missingParts(r *repo, file string) (missing []string, ok bool) {
	dir := snapshotDir(s.Commit)
	first := []string{file}
	if file == "" {
		first = nil
		entries, _ := fs.ReadDir(r.files, dir)
		sizes := map[string]int64{}
		for _, e := range entries {
			if isGGUF(e.Name()) {
				sizes[e.Name()] = 0
			}
		}
		for _, m := range gguf.Models(sizes) {
			first = append(first, m.Name)
		}
	}
	for i, name := range first {
		var lacks []string
		for _, part := range gguf.Parts(name) {
			if !r.exists(path.Join(dir, part)) {
				lacks = append(lacks, part)
			}
		}
		if i == 0 || len(lacks) < len(missing) {
			missing = lacks
		}
	}
	return missing, len(first) > 0
}
