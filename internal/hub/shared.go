package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Since version 2, Python's huggingface_hub may keep a blob once for several models. The model's blob is then a relative link to
//
//	<cache>/blobs/<first two digits>/<64 digits>       the file, named by another hash than ours (Xet's)
//	<cache>/blobs/<first two digits>/<64 digits>.refs  the links to it, a line each: models--org--name/blobs/<hash>
//	<cache>/blobs/<first two digits>/<64 digits>.lock  locked by whoever adds or removes a link
//	<cache>/blobs/.huggingface-shared-blobs            says which layout this is: version 1
//
// This package reads such blobs through their links and makes none. It only has to know them to give their space back.

// SharesBlobs tells whether a cache has a folder of shared blobs that this package understands.
func SharesBlobs(cache string) bool {
	text, err := readStart(filepath.Join(cache, "blobs", ".huggingface-shared-blobs"), 16)
	return err == nil && string(text) == "1\n"
}

// sharedBlobs lists the shared files that a model's blobs lead to.
func (r repo) sharedBlobs(cache string) (paths []string) {
	if !SharesBlobs(cache) {
		return nil
	}
	entries, _ := os.ReadDir(r.blob(""))
	for _, e := range entries {
		if path, ok := sharedTarget(cache, r.blob(e.Name())); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

var sharedName = regexp.MustCompile(`^[0-9a-f]{2}/[0-9a-f]{64}$`)

// sharedTarget is where a blob leads if it is a link to a shared one.
func sharedTarget(cache, blob string) (path string, ok bool) {
	target, err := os.Readlink(blob)
	if err != nil {
		return "", false
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(blob), target)
	}
	name, err := filepath.Rel(filepath.Join(cache, "blobs"), target)
	return target, err == nil && sharedName.MatchString(filepath.ToSlash(name))
}

// removeUnshared deletes a shared blob that no link leads to any more, as far as its list of links is there to tell. A list that is
// missing or cannot be read is no reason to delete.
func removeUnshared(cache, path string) error {
	unlock, err := tryLock(path + ".lock")
	if errors.Is(err, errLocked) {
		return nil // somebody is making a link to it just now
	}
	if err != nil {
		return err
	}
	defer unlock()
	text, err := readStart(path+".refs", 1<<24)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s stays, because it may be shared: %w", path, err)
	}
	for line := range strings.Lines(string(text)) {
		link := filepath.FromSlash(strings.TrimRight(line, "\r\n"))
		if !filepath.IsLocal(link) {
			continue
		}
		if target, ok := sharedTarget(cache, filepath.Join(cache, link)); ok && target == path {
			return nil
		}
	}
	return errors.Join(os.Remove(path), os.Remove(path+".refs"))
}
