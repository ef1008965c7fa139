// Package confined opens the directory of a checkpoint as a file system. Names and links cannot lead out of
// it.
//
// In Hugging Face's cache, a model's files are relative links:
//
//	models--org--name/snapshots/<commit>/config.json  ->  ../../blobs/<hash>
//
// In the cache, the root is the model's folder, models--org--name. huggingface_hub 2 may share blobs between
// models. The blob is then a link, ../../blobs/<2 digits>/<64 digits>, into a folder that is beside the
// models. This package also reads the blobs in that folder, and nothing else in it.
package confined

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"phi3/internal/regular"
)

// Directory is a directory as a file system that names and links cannot lead out of. So an untrusted
// checkpoint cannot make the program read other files of the user and show them in its errors. It opens only
// regular files and directories, and never blocks.
type Directory struct {
	root   *os.Root
	prefix string   // the checkpoint below root
	shared *os.Root // the blobs that models of a cache share; nil if there are none
}

// ModelPrefix begins the name of a model's folder in a cache.
const ModelPrefix = "models--"

// Open opens a checkpoint's directory, which may itself be a link. The caller must Close it.
func Open(dir string) (*Directory, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err == nil {
		resolved, err = filepath.Abs(resolved)
	}
	if err != nil {
		return nil, err
	}
	snapshots, revision := filepath.Split(resolved)
	snapshots = filepath.Clean(snapshots)
	folder := filepath.Dir(snapshots)
	if filepath.Base(snapshots) == "snapshots" && strings.HasPrefix(filepath.Base(folder), ModelPrefix) {
		d, err := OpenModel(folder)
		if err != nil {
			return nil, err
		}
		d.prefix = path.Join("snapshots", revision)
		return d, nil
	}
	root, err := openRoot(resolved)
	if err != nil {
		return nil, err
	}
	return &Directory{root: root, prefix: "."}, nil
}

// OpenModel opens a model's folder in a cache, with the shared blobs beside it. The folder may itself be a
// link. The caller must Close it.
func OpenModel(folder string) (*Directory, error) {
	root, err := openRoot(folder)
	if err != nil {
		return nil, err
	}
	d := &Directory{root: root, prefix: "."}
	cache, err := openRoot(filepath.Dir(folder))
	if err != nil {
		return d, nil // the folder may be readable where the cache is not
	}
	defer func() { _ = cache.Close() }()
	d.shared = OpenShared(cache)
	return d, nil
}

// openRoot checks the kind of the file before it opens it, because opening a named pipe could block forever.
func openRoot(dir string) (*os.Root, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if err == nil {
			err = &fs.PathError{Op: "open", Path: dir, Err: errors.New("is not a directory")}
		}
		return nil, err
	}
	return os.OpenRoot(dir)
}

// OpenShared opens the folder of a cache's shared blobs. It returns nil if there is none, or one of an
// unknown version. The caller closes it.
func OpenShared(cache *os.Root) *os.Root {
	text, err := regular.ReadIn(cache, "blobs/.huggingface-shared-blobs", 16)
	if err != nil || string(text) != "1\n" {
		return nil
	}
	if info, err := cache.Lstat("blobs"); err != nil || !info.IsDir() {
		return nil
	}
	shared, err := cache.OpenRoot("blobs")
	if err != nil {
		return nil
	}
	return shared
}

// Sub returns the directory dir below d. It is open as long as d is.
func (d *Directory) Sub(dir string) *Directory {
	return &Directory{root: d.root, prefix: path.Join(d.prefix, dir), shared: d.shared}
}

// Close releases the directory. Files that are open stay open.
func (d *Directory) Close() error {
	err := d.root.Close()
	if d.shared != nil {
		err = errors.Join(err, d.shared.Close())
	}
	return err
}

var sharedName = regexp.MustCompile(`^[0-9a-f]{2}/[0-9a-f]{64}$`)

// SharedBlob follows the links of a name to a shared blob and returns the blob's name in the shared folder,
// such as ab/ab01…. ok is false if the name leads elsewhere. The blob need not exist.
func (d *Directory) SharedBlob(name string) (blob string, ok bool) {
	if d.shared == nil {
		return "", false
	}
	name = path.Join(d.prefix, name)
	for range 8 { // one or two are usual
		target, err := d.root.Readlink(name)
		if err != nil || filepath.IsAbs(target) {
			return "", false
		}
		name = path.Join(path.Dir(name), filepath.ToSlash(target))
		if blob, ok := strings.CutPrefix(name, "../blobs/"); ok && sharedName.MatchString(blob) {
			return blob, true
		}
		if !filepath.IsLocal(name) {
			return "", false
		}
	}
	return "", false
}

// SharedSize returns the size of a shared blob in bytes, 0 if the blob does not exist.
func (d *Directory) SharedSize(blob string) int64 {
	info, err := d.shared.Stat(blob)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Open implements [fs.FS].
func (d *Directory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	info, err := d.Stat(name)
	if err != nil {
		return nil, within("open", name, err)
	}
	var f *os.File
	switch blob, ok := d.SharedBlob(name); {
	case info.IsDir():
		f, err = d.root.OpenFile(path.Join(d.prefix, name), os.O_RDONLY|regular.NoWait, 0)
	case ok:
		f, err = regular.OpenIn(d.shared, blob)
	default:
		f, err = regular.OpenIn(d.root, path.Join(d.prefix, name))
	}
	if err != nil {
		return nil, within("open", name, err)
	}
	return f, nil
}

// Stat implements [fs.StatFS].
func (d *Directory) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	info, err := d.root.Stat(path.Join(d.prefix, name))
	if blob, ok := d.SharedBlob(name); err != nil && ok {
		info, err = d.shared.Stat(blob)
	}
	if err != nil {
		return nil, within("stat", name, err)
	}
	return info, nil
}

// ErrLeadsOut is wrapped by the error for a link that leads out of the directory.
var ErrLeadsOut = errors.New("is a link that leads out of the checkpoint's directory: put a copy in its " +
	"place, or give the directory that it leads to")

// within names the file by its path in the checkpoint.
func within(op, name string, err error) error {
	err = regular.Reason(err)
	if errors.Is(err, regular.ErrLeadsOut) {
		err = ErrLeadsOut
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
