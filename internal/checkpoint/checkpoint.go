// Package checkpoint opens the model that a name means, once. A name is what the flag --model takes:
//
//   - nothing: the demonstration model inside the program ([phi3/internal/demo]);
//   - the path of a directory with a Hugging Face checkpoint;
//   - the path of a GGUF file, or of a directory with one instead of a checkpoint ([phi3/internal/gguf]);
//   - org/name: a model on the Hugging Face hub ([phi3/internal/hub]). An existing directory comes first.
//
// For any other name, Open returns an error that suggests what the user may have meant; see suggest.go.
package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"phi3/internal/confined"
	"phi3/internal/demo"
	"phi3/internal/gguf"
	"phi3/internal/hub"
	"phi3/internal/regular"
)

// Checkpoint is an open checkpoint.
type Checkpoint struct {
	Name    string // as the user gave it; of the built-in model, its own
	Title   string // the name without the path: org/name, or the directory's own name
	FS      fs.FS  // its files. No link leads out of it
	BuiltIn bool   // it is the demonstration model

	directory *confined.Directory // nil for the built-in model
	file      *gguf.Checkpoint    // nil for a Hugging Face checkpoint
}

// Close releases the directory. A model that was loaded from it stays usable.
func (c *Checkpoint) Close() error {
	if c.directory == nil {
		return nil
	}
	if c.file == nil {
		return c.directory.Close()
	}
	return errors.Join(c.file.Close(), c.directory.Close())
}

// Request says which model to open.
type Request struct {
	Name     string // see the package; "" is the demonstration model
	Revision string // of a model on the hub: a branch, tag or commit; "" is the default branch
	File     string // the GGUF file of a model that has several; "": the only one, or none
	Variable string // the environment variable that the name was read from, for errors; "" for --model

	// Download gets what the cache lacks of a model on the hub. If it is nil, Open uses what the cache has.
	Download func(h *hub.Hub, name, revision, file string) (*hub.Snapshot, error)
}

// RevisionError is the error for a revision of something that is not a model on the hub.
type RevisionError struct{ request Request }

func (e *RevisionError) Error() string {
	return fmt.Sprintf("--revision is for a model of the hub; --model is %q%s", e.request.Name,
		e.request.origin())
}

// FileError is the error for a GGUF file of something that is neither a model on the hub nor a directory.
type FileError struct{ request Request }

func (e *FileError) Error() string {
	if e.request.Name == "" {
		return FileFlag + " needs --model, the directory or the model of the hub that has the file; " +
			"to run a GGUF file itself, name it with --model"
	}
	return fmt.Sprintf("%s is for a directory or a model of the hub; --model is %q%s", FileFlag,
		e.request.Name, e.request.origin())
}

// Open opens the model that r names. The caller must Close it.
func Open(r Request) (*Checkpoint, error) {
	info, err := os.Stat(r.Name)
	switch {
	case r.Name != "" && regular.IsAbsent(err) && hub.IsName(r.Name) && !gguf.IsName(r.Name):
		return r.openFromHub()
	case r.Revision != "":
		return nil, &RevisionError{r}
	case r.File != "" && (r.Name == "" || err == nil && !info.IsDir()):
		return nil, &FileError{r}
	case r.Name == "":
		return &Checkpoint{Name: demo.Name, Title: demo.Name, FS: demo.FS(), BuiltIn: true}, nil
	case regular.IsAbsent(err) && gguf.IsName(r.Name):
		return nil, fmt.Errorf("there is no file %s%s%s", r.Name, r.origin(), meantFile(r.Name))
	case regular.IsAbsent(err):
		return nil, fmt.Errorf("there is no directory %s%s%s", r.Name, r.origin(), meant(r.Name))
	case err != nil:
		return nil, fmt.Errorf("%s%s: %w", r.Name, r.origin(), regular.Reason(err))
	case !info.IsDir() && gguf.IsName(r.Name):
		return openFile(r.Name)
	case !info.IsDir():
		return nil, notADirectory(r.Name)
	case isModelFolder(r.Name):
		return nil, fmt.Errorf("%s is the folder of a model in a cache, which may have several revisions; "+
			"--model takes one of its snapshots%s", r.Name, meant(filepath.Base(r.Name)))
	}
	return r.openDirectory(r.Name, title(r.Name))
}

// openFromHub opens a model that the cache has, or that Download puts there.
func (r *Request) openFromHub() (*Checkpoint, error) {
	h, err := hub.New(os.Getenv)
	if err != nil {
		return nil, err
	}
	revision := r.Revision
	if revision == "" {
		revision = hub.DefaultRevision
	}
	snapshot, err := h.FindFile(r.Name, revision, r.File)
	if err != nil && !errors.Is(err, hub.ErrNotCached) {
		return nil, err
	}
	switch {
	case r.Download != nil && (snapshot == nil || !snapshot.Complete()):
		if snapshot, err = r.Download(h, r.Name, revision, r.File); err != nil {
			return nil, fmt.Errorf("there is no directory %s%s, and as a model of the hub: %w", r.Name,
				r.origin(), err)
		}
	case snapshot == nil:
		return nil, fmt.Errorf("there is no directory %s%s, and no model of that name in the cache; "+
			"phi3 pull %[1]s downloads it", r.Name, r.origin())
	}
	return r.openDirectory(snapshot.Dir, r.Name)
}

// openDirectory opens the checkpoint in a directory: Hugging Face's, or a GGUF file.
func (r *Request) openDirectory(dir, title string) (*Checkpoint, error) {
	d, err := confined.Open(dir)
	if err != nil {
		return nil, err
	}
	file, err := r.chooseFile(d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if file == "" {
		return &Checkpoint{Name: r.Name, Title: title, FS: d, directory: d}, nil
	}
	c, err := gguf.Open(d, file)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &Checkpoint{Name: r.Name, Title: title + "/" + file, FS: c, directory: d, file: c}, nil
}

// origin follows the name in an error where the name is not from --model.
func (r *Request) origin() string {
	if r.Variable == "" {
		return ""
	}
	return " (from " + r.Variable + ")"
}

// isModelFolder reports whether a directory is a model's folder in a cache, above its snapshots.
func isModelFolder(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "snapshots"))
	return err == nil && info.IsDir() && strings.HasPrefix(filepath.Base(dir), confined.ModelPrefix)
}

// title is org/name for a directory in the hub's cache, and the last element of any other path.
func title(dir string) string {
	path, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	parts := strings.Split(filepath.ToSlash(path), "/")
	for i := len(parts) - 2; i > 0; i-- { // …/models--org--name/snapshots/commit
		if name, ok := strings.CutPrefix(parts[i-1], confined.ModelPrefix); ok && parts[i] == "snapshots" {
			return strings.Replace(name, "--", "/", 1)
		}
	}
	return parts[len(parts)-1]
}
