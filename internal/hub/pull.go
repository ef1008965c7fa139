package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"phi3/internal/safetensors"
)

// Options of [Hub.Pull]; each may be zero. Progress and Note are called from several goroutines at once.
type Options struct {
	// the GGUF file to download; "": the checkpoint, or the only GGUF file of a repository without one
	File string
	// looks at the small files before the weights are downloaded; an error ends the pull. It is not called
	// for a GGUF file
	Check func(checkpoint fs.FS) error
	// how many bytes of a file are here; done can fall when a download starts over
	Progress func(file string, done, size int64)
	// one line about a delay or about something wrong
	Note func(text string)
}

// parallel is how many files are downloaded at once.
const parallel = 8

type pull struct {
	hub            *Hub
	name, revision string
	repo           *repo
	options        Options
}

func (p *pull) note(format string, args ...any) {
	if p.options.Note != nil {
		p.options.Note(fmt.Sprintf(format, args...))
	}
}

func (p *pull) progress(f file, done int64) {
	if p.options.Progress != nil {
		p.options.Progress(f.name, done, f.size)
	}
}

// Pull brings a revision of a model in the cache up to date with the hub: it gets the files that phi3 needs,
// and checks each by its hash, also those that were already there. After that, it changes the revision's name
// to mean the new commit. If a pull ends early, because of ctx or an error, the next one continues with the
// bytes that were downloaded; nothing else has changed. If the hub cannot be reached and the cache has the
// revision, Pull returns that, with a note.
func (h *Hub) Pull(ctx context.Context, name, revision string, options Options) (s *Snapshot, err error) {
	if err := cmp.Or(check(name, revision), checkFile(options.File)); err != nil {
		return nil, err
	}
	p := &pull{hub: h, name: name, revision: revision, repo: h.repo(name), options: options}
	cached, err := h.FindFile(name, revision, options.File)
	usable := err == nil && len(cached.Missing) == 0
	if usable && len(cached.Unknown) > 0 {
		defer func() {
			if s == cached {
				p.note("%s: the cache does not have %s, and the hub may; answers may differ", name,
					strings.Join(cached.Unknown, " and "))
			}
		}()
	}
	if h.Offline {
		switch {
		case usable:
			return cached, nil
		case err == nil:
			return nil, fmt.Errorf("HF_HUB_OFFLINE is set, and the cache has only a part of %s: %s", name,
				cached.Lack)
		}
		return nil, fmt.Errorf("HF_HUB_OFFLINE is set, and %w", err)
	}
	tries := 3
	if usable {
		tries = 1
	}
	r, err := p.lookUp(ctx, tries)
	var away *unreachable
	if usable && errors.As(err, &away) {
		p.note("%v; using the copy in the cache, commit %.7s", err, cached.Commit)
		return cached, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := r.chosen(options.File)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	if file != "" {
		err = p.ggufFile(ctx, r, file)
	} else {
		err = p.files(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	return h.FindFile(name, r.commit, file)
}

// ggufFile downloads a GGUF file of a revision, with its other parts if it is split.
func (p *pull) ggufFile(ctx context.Context, r *revision, file string) error {
	parts, err := r.parts(file)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer p.repo.close()
	if err := p.makeFolders(r.commit); err != nil {
		return err
	}
	if err := p.all(ctx, r.commit, parts); err != nil {
		return err
	}
	return p.repo.writeRef(p.revision, r.commit)
}

// makeFolders opens the model's folder in the cache, with the folders for a commit's files.
func (p *pull) makeFolders(commit string) error {
	if err := p.repo.create(); err != nil {
		return err
	}
	for _, dir := range []string{snapshotDir(commit), "blobs"} {
		if err := p.repo.root.MkdirAll(dir, 0o777); err != nil {
			return p.repo.failed(dir, err)
		}
	}
	return nil
}

// files downloads the files of a revision, small files first: they tell which weights there are and whether
// phi3 can run the model.
func (p *pull) files(ctx context.Context, r *revision) error {
	small, absent, err := r.small()
	if err != nil {
		return fmt.Errorf("%s %w", p.name, err)
	}
	defer p.repo.close()
	if err := p.makeFolders(r.commit); err != nil {
		return err
	}
	if slices.Contains(r.others, adapterName) {
		p.note("%s also has a LoRA adapter, which phi3 does not apply", p.name)
	}
	if err := p.all(ctx, r.commit, small); err != nil {
		return err
	}
	checkpoint := p.repo.files.Sub(snapshotDir(r.commit))
	if p.options.Check != nil {
		if err := p.options.Check(checkpoint); err != nil {
			return err
		}
	}
	var shards []string
	if _, whole := r.files[weightsName]; !whole {
		if shards, err = safetensors.Shards(checkpoint); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	weights, err := r.weights(shards)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if err := p.all(ctx, r.commit, weights); err != nil {
		return err
	}
	if err := p.repo.markAbsent(r.commit, absent); err != nil {
		return err
	}
	return p.repo.writeRef(p.revision, r.commit)
}

// all downloads several files at a time. The first error ends the others.
func (p *pull) all(ctx context.Context, commit string, files []file) error {
	for i := range files {
		var err error
		if files[i], err = p.ask(ctx, commit, files[i]); err != nil {
			return err
		}
	}
	if err := p.fits(commit, files); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, f := range files {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			if err := p.file(ctx, commit, f); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// fits checks that the disk has room for the rest of the download.
func (p *pull) fits(commit string, files []file) error {
	var need int64
	for _, f := range files {
		need += p.left(commit, f)
	}
	free, ok := p.hub.freeDisk(p.repo.dir)
	if !ok || need <= free {
		return nil
	}
	const mega = 1e6
	return fmt.Errorf("%.1f MB are still to be downloaded and the disk of %s has %.1f MB free: make room, "+
		"or set HF_HUB_CACHE to a directory on another disk",
		float64(need)/mega, filepath.Dir(p.repo.dir), float64(free)/mega)
}
