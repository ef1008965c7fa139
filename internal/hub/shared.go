package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"phi3/internal/regular"
)

// Since version 2, Python's huggingface_hub may keep a blob once for several models. The model's blob is then
// a relative link to
//
//	<cache>/blobs/<first two digits>/<64 digits>       the file, named by another hash than ours (Xet's)
//	<cache>/blobs/<first two digits>/<64 digits>.refs  its links, one a line: models--org--name/blobs/<hash>
//	<cache>/blobs/<first two digits>/<64 digits>.lock  locked while a program adds or removes a link
//	<cache>/blobs/.huggingface-shared-blobs            says which layout this is: version 1
//
// This package reads such blobs through their links ([confined.Directory]) and makes none. It removes them
// with the last model that uses them.

// sharedBlobs lists the shared blobs that a model's blobs are links to, by their names below <cache>/blobs.
func (r *repo) sharedBlobs() (blobs []string) {
	entries, _ := fs.ReadDir(r.files, "blobs")
	for _, e := range entries {
		if blob, ok := r.files.SharedBlob(blobFile(e.Name())); ok {
			blobs = append(blobs, blob)
		}
	}
	return blobs
}

// removeUnshared deletes a shared blob if its list of links shows that no model uses it. It keeps a blob
// whose list is missing or cannot be read, and a blob whose folder is a link.
func removeUnshared(cache, shared *os.Root, blob string) error {
	if info, err := shared.Lstat(path.Dir(blob)); err != nil || !info.IsDir() {
		return nil // it is not there, or is a link
	}
	unlock, err := tryLock(shared, blob+".lock")
	if errors.Is(err, errLocked) {
		return nil // another program is making a link to it
	}
	if err != nil {
		return err
	}
	defer unlock()
	text, err := regular.ReadIn(shared, blob+".refs", 1<<24)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s stays, because it may be shared: %s %w",
			filepath.Join(shared.Name(), blob), blob+".refs", err)
	}
	for line := range strings.Lines(string(text)) {
		link := strings.TrimRight(line, "\r\n")
		if !filepath.IsLocal(link) {
			continue
		}
		target, err := cache.Readlink(link)
		leads := path.Join(path.Dir(filepath.ToSlash(link)), filepath.ToSlash(target))
		if err == nil && leads == path.Join("blobs", blob) {
			return nil
		}
	}
	return errors.Join(shared.Remove(blob), shared.Remove(blob+".refs"))
}
