package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"phi3/internal/confined"
	"phi3/internal/gguf"
	"phi3/internal/hub"
	"phi3/internal/regular"
	"phi3/internal/spell"
)

// FileFlag is the flag that sets [Request.File], for messages.
const FileFlag = "--gguf"

// openFile opens the GGUF file at a path. A link is followed once, because the user has named it; parts of a
// split model must be beside the file.
func openFile(file string) (*Checkpoint, error) {
	c, err := openNamed(file, file)
	if !errors.Is(err, confined.ErrLeadsOut) {
		return c, err
	}
	resolved, linkErr := filepath.EvalSymlinks(file)
	if linkErr != nil {
		return nil, err
	}
	return openNamed(resolved, file)
}

// openNamed opens the GGUF file at a path, under the name that the user gave.
func openNamed(file, name string) (*Checkpoint, error) {
	d, err := confined.Open(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	c, err := gguf.Open(d, filepath.Base(file))
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &Checkpoint{Name: name, Title: filepath.Base(name), FS: c, directory: d, file: c}, nil
}

// chooseFile returns the GGUF file that a directory means. It returns "" if the directory is a Hugging Face
// checkpoint, or has nothing to choose from; then its opening gives the error.
func (r *Request) chooseFile(dir fs.FS) (string, error) {
	list, err := gguf.ModelsIn(dir)
	if err != nil {
		return "", err
	}
	if r.File != "" {
		if _, err := fs.Stat(dir, r.File); err == nil || !regular.IsAbsent(err) && fs.ValidPath(r.File) {
			return r.File, nil
		}
		if len(list) == 0 {
			return "", fmt.Errorf("%s has no file %s, and no GGUF files at all", r.Name, r.File)
		}
		return "", fmt.Errorf("%s has no file %s; it has %s", r.Name, r.File, gguf.Choice(list))
	}
	for _, name := range []string{"model.safetensors", "model.safetensors.index.json"} {
		if _, err := fs.Stat(dir, name); err == nil {
			return "", nil
		}
	}
	switch len(list) {
	case 0:
		return "", nil
	case 1:
		return list[0].Name, nil
	}
	return "", &severalError{r.Name, list}
}

// severalError is the error for a directory with more than one GGUF model, of which none was chosen.
type severalError struct {
	name string
	list []gguf.Model
}

func (e *severalError) Error() string {
	return fmt.Sprintf("%s has %d models as GGUF files: choose one with %s: %s", e.name, len(e.list),
		FileFlag, gguf.Choice(e.list))
}

// meantFile guesses which GGUF file a path that leads to nothing was meant for. It returns the second half
// of a sentence, "" if there are no GGUF files in that directory.
func meantFile(file string) string {
	dir := filepath.Dir(file)
	list, _ := gguf.ModelsIn(os.DirFS(dir)) // on error there is nothing to name
	best, distance := "", 4                 // further away it is another name
	for _, m := range list {
		name := strings.ToLower(m.Name)
		if d := spell.Distance(strings.ToLower(filepath.Base(file)), name); d < distance {
			best, distance = m.Name, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %s?", filepath.Join(dir, best))
	case len(list) > 0:
		return fmt.Sprintf("; there is %s", gguf.Choice(list))
	}
	return ""
}

// Files returns the names of the GGUF models in the directory or the cached model that r names.
func (r *Request) Files() []string {
	dir := r.Name
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		h, err := hub.New(os.Getenv)
		if err != nil || !hub.IsName(r.Name) {
			return nil
		}
		snapshot, err := h.Find(r.Name, cmp.Or(r.Revision, hub.DefaultRevision))
		if err != nil {
			return nil
		}
		dir = snapshot.Dir
	}
	list, _ := gguf.ModelsIn(os.DirFS(dir))
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	return names
}
