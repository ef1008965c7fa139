package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cached is a revision of a model in the cache, or what an unfinished download has left of one.
type Cached struct {
	Name     string
	Commit   string    // "": nothing but the beginnings of files
	Refs     []string  // the branches and tags that mean this commit
	Dir      string    // the checkpoint directory; without a commit, the model's directory in the cache
	Bytes    int64     // of its files; revisions share those that are equal
	Files    int       //
	LastUsed time.Time // when one of its files was last read, as far as the file system keeps that
	Missing  []string  // files without which the model cannot run
	Damage   string    // what else is wrong with it, or ""
}

// Models lists what the cache holds, by name, the revision that is named main first.
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
		folder, ok := strings.CutPrefix(e.Name(), repoPrefix)
		name := strings.Replace(folder, "--", "/", 1)
		if !ok || !IsName(name) {
			continue
		}
		if info, err := os.Stat(filepath.Join(h.Cache, e.Name())); err != nil || !info.IsDir() { // or a link to one, on another disk
			continue
		}
		all = append(all, h.revisions(name)...)
	}
	return all, nil
}

// revisions lists what the cache holds of one model. What cannot be read counts as not there.
func (h *Hub) revisions(name string) []Cached {
	r := h.repo(name)
	refs := r.refs()
	var list []Cached
	snapshots, _ := os.ReadDir(filepath.Join(r.dir, "snapshots"))
	for _, e := range snapshots {
		if !e.IsDir() || !commitHash.MatchString(e.Name()) {
			continue
		}
		c := Cached{Name: name, Commit: e.Name(), Refs: refs[e.Name()], Dir: r.snapshot(e.Name())}
		c.measure(c.Dir)
		s := &Snapshot{Commit: c.Commit, Dir: c.Dir}
		if err := s.look(r); err != nil {
			c.Damage = err.Error()
		}
		c.Missing = s.Missing
		list = append(list, c)
	}
	if len(list) == 0 {
		c := Cached{Name: name, Dir: r.dir}
		c.measure(filepath.Join(r.dir, "blobs"))
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

// refs lists the names of every commit that has some.
func (r repo) refs() map[string][]string {
	names := map[string][]string{}
	root := filepath.Join(r.dir, "refs")
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be read is not listed
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		if commit, err := r.readRef(name); err == nil {
			names[commit] = append(names[commit], name)
		}
		return nil
	})
	return names
}

// measure adds up the files below a directory, links followed.
func (c *Cached) measure(dir string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to a blob that is gone
		}
		c.Bytes += info.Size()
		c.Files++
		used, ok := lastRead(path)
		if !ok {
			used = info.ModTime()
		}
		if used.After(c.LastUsed) {
			c.LastUsed = used
		}
		return nil
	})
}

// Size returns what a model takes on the disk, all revisions and unfinished downloads together, in bytes.
func (h *Hub) Size(name string) (bytes int64, err error) {
	r, err := h.cached(name)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(r.dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	for _, shared := range r.sharedBlobs(h.Cache) {
		if info, statErr := os.Stat(shared); statErr == nil {
			bytes += info.Size()
		}
	}
	return bytes, err
}

// cached is the directory of a model that must be there.
func (h *Hub) cached(name string) (repo, error) {
	if err := check(name, DefaultRevision); err != nil {
		return repo{}, err
	}
	r := h.repo(name)
	if !exists(r.dir) {
		return repo{}, fmt.Errorf("%s is %w %s", name, ErrNotCached, h.Cache)
	}
	return r, nil
}

// Remove deletes a model, with all its revisions and unfinished downloads, from the cache. It refuses while a program is downloading it.
func (h *Hub) Remove(name string) error {
	r, err := h.cached(name)
	if err != nil {
		return err
	}
	locks, err := os.ReadDir(r.locks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range locks {
		unlock, err := tryLock(filepath.Join(r.locks, e.Name()))
		if errors.Is(err, errLocked) {
			return fmt.Errorf("%s is being downloaded by another program", name)
		}
		if err != nil {
			return err
		}
		defer unlock()
	}
	shared := r.sharedBlobs(h.Cache)
	err = errors.Join(os.RemoveAll(r.dir), os.RemoveAll(r.locks))
	for _, blob := range shared {
		err = errors.Join(err, removeUnshared(h.Cache, blob))
	}
	return err
}
