package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's hash of small files; the hub knows no other
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"phi3/internal/regular"
	"phi3/internal/show"
)

// attempts is how many requests in a row may fail without bringing a byte.
const attempts = 5

// file gets one file of the snapshot: it checks the file if the cache has it, also from another revision, and
// downloads it otherwise. The first process to reach a blob holds its lock; the others wait and then find it
// complete.
func (p *pull) file(ctx context.Context, commit string, f file) error {
	r := p.repo
	blob, name := blobFile(f.hash), path.Join(snapshotDir(commit), f.name)
	unlock, err := lock(ctx, r.cache, r.lockFile(f.hash),
		func() { p.note("%s: waiting for another program that is downloading it", f.name) })
	if err != nil {
		return err
	}
	defer unlock()
	old := blob
	if !r.exists(blob) { // without symbolic links the snapshot has the file itself
		old = name
	}
	if r.exists(old) {
		err := p.verify(ctx, old, f)
		if err == nil {
			_ = r.root.Remove(blob + partEnding) // of another program that started over
			if old == name {
				return nil
			}
			return p.hub.link(r, blob, name, false)
		}
		if !errors.Is(err, errDamaged) {
			return err
		}
		p.note("%s: the copy in the cache is damaged (%v); downloading it again", f.name, err)
		if err := r.root.Remove(old); err != nil {
			return r.failed(old, err)
		}
	}
	if err := p.download(ctx, commit, f, blob); err != nil {
		return err
	}
	return p.hub.link(r, blob, name, true)
}

var errDamaged = errors.New("is not what its hash says")

// verify compares the size and the hash of a file in the cache.
func (p *pull) verify(ctx context.Context, name string, f file) error {
	in, size, err := regular.OpenFS(p.repo.files, name)
	if errors.Is(err, regular.ErrNotRegular) {
		return fmt.Errorf("%w: it %w", errDamaged, err)
	}
	if err != nil {
		return p.repo.failed(name, err)
	}
	defer func() { _ = in.Close() }()
	if size != f.size {
		return fmt.Errorf("%w: it has %d bytes, not %d", errDamaged, size, f.size)
	}
	sum := newSum(f)
	if err := readInto(ctx, sum, in, func(done int64) { p.progress(f, done) }); err != nil {
		return err
	}
	return sum.check()
}

// readInto adds a whole file on the disk to a hash.
func readInto(ctx context.Context, sum *sum, in io.Reader, progress func(done int64)) error {
	buffer := make([]byte, 1<<20)
	var done int64
	for ctx.Err() == nil {
		n, err := in.Read(buffer)
		_, _ = sum.Write(buffer[:n])
		done += int64(n)
		progress(done)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// sum computes the hash that is a file's name in the cache.
type sum struct {
	hash.Hash
	want string
}

func newSum(f file) *sum {
	if len(f.hash) == sha256.Size*2 {
		return &sum{sha256.New(), f.hash}
	}
	s := &sum{sha1.New(), f.hash} //nolint:gosec // see the import
	_, _ = fmt.Fprintf(s, "blob %d\x00", f.size)
	return s
}

func (s *sum) check() error {
	if got := hex.EncodeToString(s.Sum(nil)); got != s.want {
		return fmt.Errorf("%w: its hash is %s, not %s", errDamaged, got, s.want)
	}
	return nil
}

// download gets a file into <blob>.incomplete, checks it, and renames it. It continues where an earlier try
// of phi3 or huggingface_hub ended.
func (p *pull) download(ctx context.Context, commit string, f file, blob string) (err error) {
	r := p.repo
	part, err := r.openPart(blob + partEnding)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, part.Close()) }() // the bytes stay for the next try

	d := &download{pull: p, file: f, part: part, sum: newSum(f)}
	d.url, d.commit = p.address(commit, f.name), commit
	if err := d.begin(ctx); err != nil {
		return err
	}
	for again := false; ; again = true {
		if d.done < f.size {
			if err := p.retry(ctx, f.name, attempts,
				func() (bool, error) { return d.receive(ctx) }); err != nil {
				return fmt.Errorf("download %s: %w", f.name, p.explain(err))
			}
		}
		err := d.sum.check()
		if err == nil {
			break
		}
		if again {
			return errors.Join(fmt.Errorf("%s as %s sends it %w", f.name, p.hub.host(), err),
				r.root.Remove(blob+partEnding))
		}
		p.note("%s: the download %v; downloading it again", f.name, err)
		if err := d.restart(); err != nil {
			return err
		}
	}
	if err := part.Truncate(f.size); err != nil { // an earlier part may be longer
		return err
	}
	if err := part.Sync(); err != nil { // otherwise a power cut could leave the name without the bytes
		return err
	}
	return r.failed(blob, r.root.Rename(blob+partEnding, blob))
}

// download is one file that is being downloaded.
type download struct {
	*pull
	file   file
	url    string
	commit string
	part   *os.File
	done   int64 // bytes in part, and in sum
	most   int64 // the largest done so far: after a restart, the same bytes again are not progress
	sum    *sum
}

// begin takes over the bytes that are there already.
func (d *download) begin(ctx context.Context) error {
	info, err := d.part.Stat()
	if err != nil {
		return err
	}
	d.done, d.most = info.Size(), info.Size()
	// reported in one step, because it is not a download
	err = readInto(ctx, d.sum, io.LimitReader(d.part, d.done), func(int64) {})
	d.progress(d.file, d.done)
	return err
}

// restart goes back to the first byte. It overwrites the bytes that are there and does not truncate: on a
// network disk where locks have no effect, another program may write the same bytes to the same file, and
// must not end with a hole.
func (d *download) restart() error {
	d.done, d.sum = 0, newSum(d.file)
	d.progress(d.file, 0)
	_, err := d.part.Seek(0, io.SeekStart)
	return err
}

var errSilent = errors.New("the server sends nothing")

// receive makes one request for the missing bytes, and reports whether any came.
func (d *download) receive(ctx context.Context) (progress bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// the hash is that of the file before compression
	header := http.Header{"Accept-Encoding": {"identity"}}
	if d.done > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.done))
	}
	a, err := d.hub.get(ctx, d.url, header)
	if err != nil {
		return false, err
	}
	defer func() { _ = a.Body.Close() }()
	if err := d.expected(a); err != nil {
		return false, err
	}
	watch := time.AfterFunc(d.hub.stall, func() { cancel(&networkError{errSilent}) })
	defer watch.Stop()
	buffer := make([]byte, 1<<18)
	for {
		n, err := a.Body.Read(buffer)
		watch.Reset(d.hub.stall)
		if d.done+int64(n) > d.file.size {
			return true, fmt.Errorf("%s sends more than the %d bytes that it announced", d.hub.host(),
				d.file.size)
		}
		if n > 0 {
			if _, err := d.part.Write(buffer[:n]); err != nil {
				return true, err
			}
			_, _ = d.sum.Write(buffer[:n])
			d.done += int64(n)
			progress = progress || d.done > d.most
			d.most = max(d.most, d.done)
			d.progress(d.file, d.done)
		}
		switch {
		case d.done == d.file.size:
			return true, nil
		case errors.Is(err, io.EOF):
			return progress, &networkError{io.ErrUnexpectedEOF}
		case err != nil:
			return progress, classify(ctx, err)
		}
	}
}

// expected checks that an answer is the file that was asked for, and moves the download to the byte where
// the answer begins.
func (d *download) expected(a *answer) error {
	if a.commit != "" && a.commit != d.commit {
		return fmt.Errorf("%s sends commit %s, not %s", d.hub.host(), show.Message(a.commit), d.commit)
	}
	if (commitHash.MatchString(a.etag) || sha256Hex.MatchString(a.etag)) && a.etag != d.file.hash {
		return fmt.Errorf("the file changed on %s during the download: its hash is now %s, not %s; try again",
			d.hub.host(), a.etag, d.file.hash)
	}
	if a.size != "" && a.size != strconv.FormatInt(d.file.size, 10) {
		return fmt.Errorf("%s says that the file has %s bytes, and listed it with %d", d.hub.host(),
			show.Message(a.size), d.file.size)
	}
	switch a.StatusCode {
	case http.StatusOK: // the whole file, also if only a part was asked for
		if a.isPage() && a.ContentLength != d.file.size {
			return fmt.Errorf("%s %w", a.Request.URL.Host, errPage)
		}
		if a.ContentLength >= 0 && a.ContentLength != d.file.size {
			return fmt.Errorf("%s sends %d bytes, not %d", a.Request.URL.Host, a.ContentLength, d.file.size)
		}
		if d.done > 0 {
			d.note("%s: %s sends the whole file instead of the rest; starting over", d.file.name,
				a.Request.URL.Host)
			return d.restart()
		}
		return nil
	case http.StatusPartialContent:
		from, total, ok := contentRange(a.Header.Get("Content-Range"))
		if !ok || from != d.done || total != d.file.size {
			err := fmt.Errorf("%s sends %q of the file, not the missing bytes %d to %d",
				a.Request.URL.Host,
				show.Message(a.Header.Get("Content-Range")), d.done, d.file.size-1)
			return errors.Join(&networkError{err}, d.restart())
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		err := errors.New("the server refuses to continue where the last try ended")
		return errors.Join(&networkError{err}, d.restart()) // the next attempt asks for all of it
	}
	return d.hub.statusError(a)
}

// contentRange reads a range such as "bytes 100-199/200", which must reach to the end.
func contentRange(text string) (from, total int64, ok bool) {
	rest, ok := strings.CutPrefix(text, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, all, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	total, err3 := strconv.ParseInt(all, 10, 64)
	return from, total, err1 == nil && err2 == nil && err3 == nil && from >= 0 && total > 0 && to == total-1
}

// left is how many bytes of a file are still to be downloaded.
func (p *pull) left(commit string, f file) int64 {
	blob := blobFile(f.hash)
	if p.repo.exists(blob) || p.repo.exists(path.Join(snapshotDir(commit), f.name)) {
		return 0
	}
	info, err := p.repo.root.Lstat(blob + partEnding)
	if err != nil || !info.Mode().IsRegular() || info.Size() > f.size {
		return f.size
	}
	return f.size - info.Size()
}
