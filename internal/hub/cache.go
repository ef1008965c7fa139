package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"phi3/internal/safetensors"
)

// Snapshot is one revision of a model in the cache.
type Snapshot struct {
	Name   string // org/name
	Commit string // 40 hex digits
	Dir    string // the directory of its files, a Hugging Face checkpoint

	Missing []string // files without which the model cannot run
	Unknown []string // files that would change what it says, and that the repository may or may not have
}

// Complete tells whether the model can run, as its makers meant it.
func (s *Snapshot) Complete() bool { return len(s.Missing) == 0 && len(s.Unknown) == 0 }

// ErrNotCached is the error of [Hub.Find] for what is not in the cache at all.
var ErrNotCached = errors.New("not in the cache")

// Find looks for a revision of a model in the cache, without asking the hub.
func (h *Hub) Find(name, revision string) (*Snapshot, error) {
	if err := check(name, revision); err != nil {
		return nil, err
	}
	r := h.repo(name)
	commit := revision
	if !commitHash.MatchString(revision) {
		var err error
		if commit, err = r.readRef(revision); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(r.snapshot(commit)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s of %s is %w %s", revision, name, ErrNotCached, h.Cache)
	}
	s := &Snapshot{Name: name, Commit: commit, Dir: r.snapshot(commit)}
	return s, s.look(r)
}

// look finds out what is missing.
func (s *Snapshot) look(r repo) error {
	need := []string{configName, vocabName}
	// With generation_config.json come the ids that end an answer, with tokenizer_config.json the chat template and the first token.
	for _, name := range []string{"generation_config.json", "tokenizer_config.json"} {
		if !exists(filepath.Join(s.Dir, name)) && !exists(r.noExist(s.Commit, name)) {
			s.Unknown = append(s.Unknown, name)
		}
	}
	if exists(filepath.Join(s.Dir, indexName)) && !exists(filepath.Join(s.Dir, weightsName)) {
		shards, err := safetensors.Shards(os.DirFS(s.Dir))
		if err != nil {
			return fmt.Errorf("%s: %w", s.Dir, err)
		}
		need = append(need, shards...)
	} else {
		need = append(need, weightsName)
	}
	for _, name := range need {
		if !exists(filepath.Join(s.Dir, name)) {
			s.Missing = append(s.Missing, name)
		}
	}
	return nil
}

// exists follows links: a link to a blob that is gone is no file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// repo is a model's directory in the cache.
type repo struct {
	dir   string // …/models--org--name
	locks string // …/.locks/models--org--name
}

const repoPrefix = "models--"

func (h *Hub) repo(name string) repo {
	folder := repoPrefix + strings.ReplaceAll(name, "/", "--")
	return repo{dir: filepath.Join(h.Cache, folder), locks: filepath.Join(h.Cache, ".locks", folder)}
}

func (r repo) snapshot(commit string) string { return filepath.Join(r.dir, "snapshots", commit) }
func (r repo) blob(hash string) string       { return filepath.Join(r.dir, "blobs", hash) }
func (r repo) lockFile(hash string) string   { return filepath.Join(r.locks, hash+".lock") }
func (r repo) ref(revision string) string {
	return filepath.Join(r.dir, "refs", filepath.FromSlash(revision))
}

func (r repo) noExist(commit, name string) string {
	return filepath.Join(r.dir, ".no_exist", commit, name)
}

// partEnding is what the beginning of a blob is called.
const partEnding = ".incomplete"

func (r repo) readRef(revision string) (commit string, err error) {
	text, err := readStart(r.ref(revision), 64)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is %w %s", revision, ErrNotCached, r.dir)
	}
	if err != nil {
		return "", err
	}
	if commit = strings.TrimSpace(string(text)); !commitHash.MatchString(commit) {
		return "", fmt.Errorf("%s should hold a commit, and holds %q", r.ref(revision), commit)
	}
	return commit, nil
}

// readStart reads at most n bytes of a file.
func readStart(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, n))
}

// writeRef makes revision mean commit.
func (r repo) writeRef(revision, commit string) error {
	if revision == commit {
		return nil
	}
	if old, err := r.readRef(revision); err == nil && old == commit {
		return nil // a cache that others own and that is up to date needs no writing
	}
	path := r.ref(revision)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(r.dir, "ref-")
	if err != nil {
		return err
	}
	_, err = temporary.WriteString(commit)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
	}
	return err
}

// markAbsent remembers that the repository has no such files.
func (r repo) markAbsent(commit string, names []string) error {
	for _, name := range names {
		path := r.noExist(commit, name)
		if exists(path) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// link makes the snapshot's file lead to the blob. Where a file system has no symbolic links it becomes the file: moved there if nothing
// else can be using the blob yet, otherwise copied, as huggingface_hub does.
func (h *Hub) link(blob, path string, fresh bool) error {
	target, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	temporary := path + fmt.Sprintf(".%d.link", os.Getpid())
	_ = os.Remove(temporary)
	if h.symlink(target, temporary) == nil {
		if err := os.Rename(temporary, path); err != nil {
			_ = os.Remove(temporary)
			return err
		}
		return nil
	}
	if fresh {
		return os.Rename(blob, path)
	}
	if err := copyFile(blob, temporary); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return os.Rename(temporary, path)
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
