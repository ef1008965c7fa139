package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"phi3/internal/confined"
	"phi3/internal/regular"
)

// Cached is a revision of a model in the cache, or an unfinished download.
type Cached struct {
	Name     string
	Commit   string   // "" for an unfinished download
	Refs     []string // the branches and tags that mean this commit
	Dir      string   // the checkpoint directory; without a commit, the model's directory in the cache
	Bytes    int64    // of its files; revisions share equal files
	Files    int
	LastUsed time.Time // when one of its files was last read, as far as the file system records that
	Missing  []string  // files without which the model cannot run
	Lack     string    // what is missing, and why, in words; "" for nothing
	Damage   string    // what else is wrong; "" for nothing
}

// Models lists the models in the cache by name. Of each model the revision main comes first.
func (h *Hub) Models() ([]Cached, error) {
	entries, err := os.ReadDir(h.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the cache for downloaded models: %w", err)
	}
	var all []Cached
	for _, e := range entries {
		folder, ok := strings.CutPrefix(e.Name(), confined.ModelPrefix)
		name := strings.Replace(folder, "--", "/", 1)
		if !ok || !IsName(name) {
			continue
		}
		r := h.repo(name)
		if r.open(name) != nil {
			continue
		}
		all = append(all, r.revisions(name)...)
		r.close()
	}
	return all, nil
}

// revisions lists the revisions of one model. Those that cannot be read are left out.
func (r *repo) revisions(name string) []Cached {
	refs := r.refs()
	var list []Cached
	snapshots, _ := fs.ReadDir(r.files, "snapshots")
	for _, e := range snapshots {
		if !e.IsDir() || !commitHash.MatchString(e.Name()) {
			continue
		}
		c := Cached{Name: name, Commit: e.Name(), Refs: refs[e.Name()], Dir: r.path(snapshotDir(e.Name()))}
		c.measure(r.files.Sub(snapshotDir(c.Commit)))
		s := &Snapshot{Commit: c.Commit, Dir: c.Dir}
		if err := s.findMissing(r, ""); err != nil {
			c.Damage = err.Error()
		}
		c.Missing, c.Lack = s.Missing, s.Lack
		list = append(list, c)
	}
	if len(list) == 0 {
		c := Cached{Name: name, Dir: r.dir}
		c.measure(r.files.Sub("blobs"))
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Cached) int {
		isMain := func(c Cached) bool { return slices.Contains(c.Refs, DefaultRevision) }
		if isMain(a) != isMain(b) {
			if isMain(a) {
				return -1
			}
			return 1
		}
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.Commit, b.Commit))
	})
	return list
}

// refs lists the names of each commit that has names.
func (r *repo) refs() map[string][]string {
	names := map[string][]string{}
	root := path.Clean(refFile(""))
	_ = fs.WalkDir(r.files, root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be read is not listed
		}
		name := strings.TrimPrefix(file, root+"/")
		if checkRevision(name) != nil {
			return nil //nolint:nilerr // no program that shares the cache makes such a name
		}
		if commit, err := r.readRef(name); err == nil {
			names[commit] = append(names[commit], name)
		}
		return nil
	})
	return names
}

// Size counts the files of the snapshot and their bytes.
func (s *Snapshot) Size() (files int, bytes int64) {
	d, err := confined.Open(s.Dir)
	if err != nil {
		return 0, 0
	}
	defer func() { _ = d.Close() }()
	c := Cached{}
	c.measure(d)
	return c.Files, c.Bytes
}

// measure adds up the files below a directory. It follows links.
func (c *Cached) measure(dir *confined.Directory) {
	_ = fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		info, err := dir.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to nothing, or out of the folder
		}
		c.Bytes += info.Size()
		c.Files++
		used, ok := lastRead(info)
		if !ok {
			used = info.ModTime()
		}
		if used.After(c.LastUsed) {
			c.LastUsed = used
		}
		return nil
	})
}

// Size returns how many bytes a model takes on the disk, with all revisions and unfinished downloads.
func (h *Hub) Size(name string) (bytes int64, err error) {
	if err := check(name, DefaultRevision); err != nil {
		return 0, err
	}
	r := h.repo(name)
	if err := r.open(name); err != nil {
		return 0, err
	}
	defer r.close()
	err = fs.WalkDir(r.files, ".", func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	for _, blob := range r.sharedBlobs() {
		bytes += r.files.SharedSize(blob)
	}
	return bytes, err
}

// Remove deletes a model from the cache, with all revisions and unfinished downloads. It fails while a
// program is downloading the model. If the model's folder is a link, only the link is deleted.
func (h *Hub) Remove(name string) error {
	if err := check(name, DefaultRevision); err != nil {
		return err
	}
	r := h.repo(name)
	if !isDirectory(h.Cache) {
		return fmt.Errorf("%s is %w %s", name, ErrNotCached, h.Cache)
	}
	cache, err := os.OpenRoot(h.Cache)
	if err != nil {
		return fmt.Errorf("the cache for downloaded models: %w", err)
	}
	defer func() { _ = cache.Close() }()
	info, err := cache.Lstat(r.folder)
	if err != nil {
		return fmt.Errorf("%s is %w %s", name, ErrNotCached, h.Cache)
	}
	unlock, err := r.lockAll(cache)
	if err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	defer unlock()
	var blobs []string
	if info.IsDir() && r.open(name) == nil {
		defer r.close()
		blobs = r.sharedBlobs()
	}
	err = r.failed("", cache.RemoveAll(r.folder))
	if isDir(cache, ".locks") {
		err = errors.Join(err, regular.Reason(cache.RemoveAll(r.lockDir())))
	}
	if shared := confined.OpenShared(cache); shared != nil {
		defer func() { _ = shared.Close() }()
		for _, blob := range blobs {
			err = errors.Join(err, removeUnshared(cache, shared, blob))
		}
	}
	return err
}

// lockAll takes the locks of all blobs of a model, or fails if a program holds one of them. A folder of locks
// that is a link counts as empty, because no program locks through it.
func (r *repo) lockAll(cache *os.Root) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, release := range held {
			release()
		}
	}
	if !isDir(cache, ".locks") || !isDir(cache, r.lockDir()) {
		return unlock, nil
	}
	dir, err := cache.OpenFile(r.lockDir(), os.O_RDONLY|regular.NoWait, 0)
	if err != nil {
		return nil, fmt.Errorf("has locks that cannot be read: %w", regular.Reason(err))
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("has locks that cannot be read: %w", regular.Reason(err))
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue // not a lock
		}
		release, err := tryLock(cache, path.Join(r.lockDir(), e.Name()))
		if err != nil {
			unlock()
			if errors.Is(err, errLocked) {
				err = errors.New("is being downloaded by another program")
			}
			return nil, err
		}
		held = append(held, release)
	}
	return unlock, nil
}

// isDir reports whether a name is a directory and not a link to one.
func isDir(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	return err == nil && info.IsDir()
}
