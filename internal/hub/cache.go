package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"

	"phi3/internal/confined"
	"phi3/internal/regular"
	"phi3/internal/safetensors"
	"phi3/internal/show"
)

// Snapshot is one revision of a model in the cache.
type Snapshot struct {
	Name   string // org/name
	Commit string // 40 hex digits
	Dir    string // the directory of its files, a Hugging Face checkpoint

	Missing []string // files without which the model cannot run
	Lack    string   // what is missing, and why, in words; "" for nothing
	Unknown []string // files that change the model's answers, if the repository has them
}

// Complete reports whether the cache has all files that a run needs or uses.
func (s *Snapshot) Complete() bool { return len(s.Missing) == 0 && len(s.Unknown) == 0 }

// ErrNotCached is the error of [Hub.Find] for a model or revision that is not in the cache.
var ErrNotCached = errors.New("not in the cache")

// Find looks for a revision of a model in the cache, without asking the hub.
func (h *Hub) Find(name, revision string) (*Snapshot, error) { return h.FindFile(name, revision, "") }

// FindFile is Find for one GGUF file of the model: the snapshot is complete if the cache has the file and its
// other parts.
func (h *Hub) FindFile(name, revision, file string) (*Snapshot, error) {
	if err := cmp.Or(check(name, revision), checkFile(file)); err != nil {
		return nil, err
	}
	r := h.repo(name)
	if err := r.open(revision); err != nil {
		return nil, err
	}
	defer r.close()
	commit := revision
	if !commitHash.MatchString(revision) {
		var err error
		if commit, err = r.readRef(revision); err != nil {
			return nil, err
		}
	}
	if info, err := r.files.Stat(snapshotDir(commit)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s of %s is %w %s", revision, name, ErrNotCached, h.Cache)
	}
	s := &Snapshot{Name: name, Commit: commit, Dir: r.path(snapshotDir(commit))}
	return s, s.findMissing(r, file)
}

// findMissing finds out which files are missing. file is a GGUF file that is wanted, or "".
func (s *Snapshot) findMissing(r *repo, file string) error {
	has := func(name string) bool { return r.exists(path.Join(snapshotDir(s.Commit), name)) }
	if file != "" || !has(indexName) && !has(weightsName) {
		if missing, ok := s.missingParts(r, file); ok {
			s.lacks(r, missing)
			return nil
		}
	}
	need := []string{configName, vocabName}
	// generation_config.json has the ids that end an answer; tokenizer_config.json has the chat template and
	// the first token.
	for _, name := range []string{"generation_config.json", "tokenizer_config.json"} {
		if !has(name) && !r.exists(absentFile(s.Commit, name)) {
			s.Unknown = append(s.Unknown, name)
		}
	}
	if has(indexName) && !has(weightsName) {
		shards, err := safetensors.Shards(r.files.Sub(snapshotDir(s.Commit)))
		if err != nil {
			return fmt.Errorf("%s: %w", s.Dir, err)
		}
		need = append(need, shards...)
	} else {
		need = append(need, weightsName)
	}
	s.lacks(r, need)
	return nil
}

// lacks sets Missing and Lack to those of the files that are not there.
func (s *Snapshot) lacks(r *repo, need []string) {
	for _, name := range need {
		_, err := r.files.Stat(path.Join(snapshotDir(s.Commit), name))
		if err == nil {
			continue
		}
		s.Missing = append(s.Missing, name)
		if s.Lack == "" && errors.Is(err, confined.ErrLeadsOut) {
			s.Lack = name + " is a link that leads out of the model's folder"
		}
	}
	switch n := len(s.Missing); {
	case s.Lack != "" || n == 0:
	case n == 1:
		s.Lack = s.Missing[0] + " is missing"
	case n == 2:
		s.Lack = s.Missing[0] + " and " + s.Missing[1] + " are missing"
	default:
		s.Lack = fmt.Sprintf("%s and %d other files are missing", s.Missing[0], n-1)
	}
}

// repo is a model's folder in the cache. Files in the cache are untrusted, so all reading and writing goes
// through files and the roots: no link leads out of the folder, except to the blobs that the models of a
// cache share.
type repo struct {
	dir    string // …/models--org--name
	folder string // models--org--name

	files *confined.Directory // to read; nil before open and create
	root  *os.Root            // to write; nil before create
	cache *os.Root            // the cache, for the locks; nil before create
}

// The paths below a model's folder.
func snapshotDir(commit string) string      { return "snapshots/" + commit }
func blobFile(hash string) string           { return "blobs/" + hash }
func refFile(revision string) string        { return "refs/" + revision }
func absentFile(commit, name string) string { return ".no_exist/" + commit + "/" + name }

// partEnding follows the name of a blob that is not complete.
const partEnding = ".incomplete"

// lockDir is the folder of a model's locks, below the cache.
func (r *repo) lockDir() string { return ".locks/" + r.folder }

// lockFile is the lock of a blob, below the cache.
func (r *repo) lockFile(hash string) string { return r.lockDir() + "/" + hash + ".lock" }

// path is the whole path of a name, for messages.
func (r *repo) path(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }

func (h *Hub) repo(name string) *repo {
	folder := confined.ModelPrefix + strings.ReplaceAll(name, "/", "--")
	return &repo{dir: filepath.Join(h.Cache, folder), folder: folder}
}

// open opens the folder to read. The folder may be a link that its owner made to another disk. wanted is what
// the caller looks for, for the error.
func (r *repo) open(wanted string) (err error) {
	r.files, err = confined.OpenModel(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is %w %s", wanted, ErrNotCached, r.dir)
	}
	return r.failed("", err)
}

// create opens the folder to write. It makes the folder if there is none.
func (r *repo) create() error {
	cache := filepath.Dir(r.dir)
	err := os.MkdirAll(cache, 0o777)
	if err == nil {
		r.cache, err = os.OpenRoot(cache)
	}
	if err != nil {
		return fmt.Errorf("the cache for downloaded models: %w", err)
	}
	if info, err := r.cache.Lstat(r.folder); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory, and phi3 does not download through links: remove it, "+
			"or set HF_HUB_CACHE to another directory", r.dir)
	}
	if err := r.cache.MkdirAll(r.folder, 0o777); err != nil {
		return r.failed("", err)
	}
	if r.root, err = r.cache.OpenRoot(r.folder); err != nil {
		return r.failed("", err)
	}
	return r.open(r.folder)
}

func (r *repo) close() {
	if r.files != nil {
		_ = r.files.Close()
	}
	for _, root := range []*os.Root{r.root, r.cache} {
		if root != nil {
			_ = root.Close()
		}
	}
}

// failed adds the path in the cache to an error.
func (r *repo) failed(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", r.path(name), regular.Reason(err))
}

// exists follows links. A link to nothing and a link that leads out of the folder do not exist.
func (r *repo) exists(name string) bool {
	_, err := r.files.Stat(name)
	return err == nil
}

func (r *repo) readRef(revision string) (commit string, err error) {
	const limit = 1024 // a commit has 40
	text, err := regular.ReadFS(r.files, refFile(revision), limit)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is %w %s", revision, ErrNotCached, r.dir)
	}
	if err != nil {
		return "", r.failed(refFile(revision), err)
	}
	if commit = strings.TrimSpace(string(text)); !commitHash.MatchString(commit) {
		return "", fmt.Errorf("%s should contain a commit, and contains %q",
			r.path(refFile(revision)), show.Clip(commit, maxQuoted))
	}
	return commit, nil
}

// writeRef makes revision mean commit. It replaces a link in the place of the ref and does not follow it.
func (r *repo) writeRef(revision, commit string) error {
	if revision == commit {
		return nil
	}
	name := refFile(revision)
	if old, err := r.readRef(revision); err == nil && old == commit {
		if info, err := r.root.Lstat(name); err == nil && info.Mode().IsRegular() {
			return nil // so that a cache that others own works while it is up to date
		}
	}
	if err := r.root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return r.failed(path.Dir(name), err)
	}
	temporary := fmt.Sprintf("ref-%d-%x", os.Getpid(), rand.Uint64())
	err := r.writeNew(temporary, []byte(commit))
	if err == nil {
		err = r.failed(name, r.root.Rename(temporary, name))
	}
	if err != nil {
		_ = r.root.Remove(temporary)
	}
	return err
}

// writeNew makes a new file.
func (r *repo) writeNew(name string, text []byte) error {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return r.failed(name, err)
	}
	_, err = f.Write(text)
	return r.failed(name, errors.Join(err, f.Close()))
}

// markAbsent records which files the repository does not have.
func (r *repo) markAbsent(commit string, names []string) error {
	for _, name := range names {
		name = absentFile(commit, name)
		if r.exists(name) {
			continue
		}
		if err := r.root.MkdirAll(path.Dir(name), 0o777); err != nil {
			return r.failed(path.Dir(name), err)
		}
		if err := r.writeNew(name, nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// openPart opens the beginning of a blob, or makes an empty one. It first removes a symbolic or hard link in
// its place, through which another file would be written.
func (r *repo) openPart(name string) (*os.File, error) {
	info, err := r.root.Lstat(name)
	if err == nil && (!info.Mode().IsRegular() || linkCount(info) > 1) {
		if err = r.root.Remove(name); err != nil {
			return nil, r.failed(name, err)
		}
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		f, err := r.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		return f, r.failed(name, err)
	}
	if err != nil {
		return nil, r.failed(name, err)
	}
	f, err := r.root.OpenFile(name, os.O_RDWR|regular.NoWait, 0)
	if err != nil {
		return nil, r.failed(name, err)
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		err := fmt.Errorf("%s was replaced by another file while phi3 opened it", r.path(name))
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// link makes the snapshot's file a link to the blob. On a file system without symbolic links it becomes the
// file itself: moved if the blob is fresh, so that nothing else uses it, and copied otherwise, as
// huggingface_hub does.
func (h *Hub) link(r *repo, blob, name string, fresh bool) error {
	target, err := filepath.Rel(filepath.FromSlash(path.Dir(name)), filepath.FromSlash(blob))
	if err != nil {
		return err
	}
	temporary := fmt.Sprintf("%s.%d.link", name, os.Getpid())
	_ = r.root.Remove(temporary)
	from := temporary
	if h.symlink(r.root, target, temporary) != nil {
		if fresh {
			from = blob
		} else if err := r.copy(blob, temporary); err != nil {
			_ = r.root.Remove(temporary)
			return err
		}
	}
	if err := r.root.Rename(from, name); err != nil {
		if from == temporary {
			_ = r.root.Remove(temporary)
		}
		return r.failed(name, err)
	}
	return nil
}

// copy copies a file to a new one.
func (r *repo) copy(from, to string) error {
	source, err := r.files.Open(from)
	if err != nil {
		return r.failed(from, err)
	}
	defer func() { _ = source.Close() }()
	target, err := r.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return r.failed(to, err)
	}
	_, err = target.ReadFrom(source)
	return r.failed(to, errors.Join(err, target.Close()))
}
