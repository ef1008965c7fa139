package cli

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"phi3/internal/hub"
)

// directory is a checkpoint's directory as a file system that nothing leads out of: no name, and no symbolic link in it. Otherwise a
// checkpoint from a stranger could have the program map, and show in its errors, any file of whoever runs it.
//
// In Hugging Face's cache, a model's files are relative links from snapshots/<revision> to ../../blobs: there the root is the model's
// folder. huggingface_hub 2 may share blobs between models, and those are links again, into one folder beside the models: that folder's
// files may be read too.
type directory struct {
	root   *os.Root
	prefix string   // the checkpoint below root
	shared *os.Root // blobs that models share; nil if there are none
}

// openDirectory opens a checkpoint's directory. dir itself may be a link.
func openDirectory(dir string) (fs.FS, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err == nil {
		resolved, err = filepath.Abs(resolved)
	}
	if err != nil {
		return nil, err
	}
	root, prefix, blobs := resolved, ".", ""
	if snapshots, revision := filepath.Split(resolved); filepath.Base(snapshots) == "snapshots" {
		model := filepath.Dir(filepath.Clean(snapshots))
		if info, err := os.Stat(filepath.Join(model, "blobs")); err == nil && info.IsDir() {
			root, prefix = model, path.Join("snapshots", revision)
			if cache := filepath.Dir(model); hub.SharesBlobs(cache) {
				blobs = filepath.Join(cache, "blobs")
			}
		}
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	d := directory{root: r, prefix: prefix}
	if blobs != "" {
		d.shared, err = os.OpenRoot(blobs)
	}
	return d, err
}

// inShared is the shared blob that a name leads to.
func (d directory) inShared(name string) (blob string, ok bool) {
	if d.shared == nil {
		return "", false
	}
	resolved, err := filepath.EvalSymlinks(filepath.Join(d.root.Name(), d.prefix, name))
	if err != nil {
		return "", false
	}
	blob, err = filepath.Rel(d.shared.Name(), resolved)
	return blob, err == nil && filepath.IsLocal(blob)
}

// Open implements [fs.FS].
func (d directory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := d.root.Open(path.Join(d.prefix, name))
	if blob, ok := d.inShared(name); err != nil && ok {
		f, err = d.shared.Open(blob)
	}
	if err != nil {
		return nil, within("open", name, err)
	}
	return f, nil
}

// Stat implements [fs.StatFS]: what a name is must be known before it is opened, because opening a named pipe waits for ever.
func (d directory) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	info, err := d.root.Stat(path.Join(d.prefix, name))
	if blob, ok := d.inShared(name); err != nil && ok {
		info, err = d.shared.Stat(blob)
	}
	if err != nil {
		return nil, within("stat", name, err)
	}
	return info, nil
}

var errLeadsOut = errors.New("is a link that leads out of the checkpoint's directory: put a copy in its place, or give the directory that it leads to")

// within names the file as the checkpoint does, and says in words what os.Root means by its error, which has no name.
func within(op, name string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if err.Error() == "path escapes from parent" {
		err = errLeadsOut
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
