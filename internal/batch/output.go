package batch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"phi3/internal/regular"
	"phi3/internal/show"
)

// idPrefix and opening are the beginning of the id of each response, and of each line.
const (
	idPrefix = "batch_req_"
	opening  = `{"id":"` + idPrefix
)

// maxResponse is the longest line that is read from an output, in bytes.
const maxResponse = 1 << 30

// Output is a file of responses, one JSON object on each line. Only one process writes it at a time.
type Output struct {
	// Notes say what was unusual when the file was opened.
	Notes []string
	// Fingerprint is the system_fingerprint of the answers in the file; "" if it has none.
	Fingerprint string

	name     string
	file     *os.File
	size     int64  // of the whole lines and the empty ones
	unsynced bool   // lines were written since the last sync
	model    string // that gave the answers in the file; "" if it has none
}

// responseLine is a line of an output.
type responseLine struct {
	ID       string   `json:"id"`
	CustomID string   `json:"custom_id"`
	Response response `json:"response"`
	Error    *string  `json:"error"` // always null: a request without a response has no line
}

type response struct {
	Status    int    `json:"status_code"`
	RequestID string `json:"request_id"`
	Body      any    `json:"body"`
}

var errLocked = errors.New("is being written by another phi3 batch; wait until it ends, or choose another " +
	"--out")

// OpenOutput opens the output of a batch, or creates it. It locks the file, reads the lines that it has, and
// marks their requests in the input as done. If a kill left a part of a line at the end, OpenOutput cuts it
// off. It changes no file but an output of the same input. The caller closes it.
func OpenOutput(ctx context.Context, name string, in *Input) (out *Output, err error) {
	out = &Output{name: name}
	info, err := os.Stat(name)
	created := regular.IsAbsent(err)
	if err == nil {
		err = regular.Check(info.Mode())
	}
	if err == nil || created {
		out.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND|regular.NoWait, 0o666)
	}
	if err != nil {
		return nil, out.failed(err)
	}
	switch err = lock(out.file); {
	case errors.Is(err, errLocked):
	case err != nil:
		out.Notes = append(out.Notes, fmt.Sprintf("%s cannot be locked (%v); make sure that no other "+
			"phi3 batch writes it", name, err))
		fallthrough
	default:
		err = out.read(ctx, in)
	}
	if err != nil {
		_ = out.file.Close()
		return nil, out.failed(err)
	}
	if created { // after a power failure the file still has its name
		syncDirectory(filepath.Dir(name))
	}
	return out, nil
}

// failed adds the file's name to an error.
func (o *Output) failed(err error) error {
	return fmt.Errorf("%s: %w", o.name, regular.Reason(err))
}

// Close closes the file, and so unlocks it.
func (o *Output) Close() error { return o.file.Close() }

// CheckModel returns an error if the file has answers of another model.
func (o *Output) CheckModel(name string) error {
	if o.model == "" || o.model == name {
		return nil
	}
	return o.failed(fmt.Errorf("has answers of the model %s, and this run would add answers of %s; choose "+
		"another --out", show.Named(o.model), show.Named(name)))
}

// read reads the lines of the file.
func (o *Output) read(ctx context.Context, in *Input) error {
	begin := make([]byte, len(opening))
	if n, _ := o.file.ReadAt(begin, 0); !torn(begin[:n]) {
		return errors.New("exists and is not an output of phi3 batch; choose another --out")
	}
	last := 0 // the number of a line that is torn; only the last line can be
	for l, err := range lines(ctx, o.file, maxResponse) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case last > 0:
			return fmt.Errorf("line %d %w", last, errForeign)
		case err == nil && torn(l.text) && !l.complete():
			last, o.size = l.number, l.start
			continue
		case err == nil:
			err = o.readLine(&l, in)
		}
		if err != nil {
			return fmt.Errorf("line %d %w", l.number, err)
		}
		o.size = l.start + int64(len(l.text)) + 1
	}
	if last == 0 {
		end, err := o.file.Seek(0, io.SeekEnd) // empty lines may follow the last one
		o.size = end
		return err
	}
	o.Notes = append(o.Notes, fmt.Sprintf("%s: the last line is not complete, as after a kill; phi3 cuts it "+
		"off and answers its request again", o.name))
	return o.cut()
}

// torn reports whether a text can be the beginning of a line of an output, or what a power failure leaves of
// it.
func torn(text []byte) bool {
	n := min(len(text), len(opening))
	return string(text[:n]) == opening[:n] || len(bytes.Trim(text, "\x00")) == 0
}

// complete reports whether the line is JSON with a newline after it.
func (l *line) complete() bool { return l.whole && json.Valid(l.text) }

var errForeign = errors.New("is not a response that phi3 batch wrote; remove the line, or choose another " +
	"--out")

// readLine reads a response and marks its request as done.
func (o *Output) readLine(l *line, in *Input) error {
	var answer struct {
		ID       string
		CustomID *string `json:"custom_id"`
		Response struct {
			Body struct {
				Model       string
				Fingerprint string `json:"system_fingerprint"`
			}
		}
	}
	if json.Unmarshal(l.text, &answer) != nil || answer.CustomID == nil {
		return errForeign
	}
	key, id := hashID(*answer.CustomID), show.Brief(*answer.CustomID)
	e, ok := in.requests[key]
	switch {
	case !ok:
		return fmt.Errorf("answers the request %q, which %s does not have; choose another --out", id, in.name)
	case answer.ID != idPrefix+e.hash.String():
		return fmt.Errorf("answers another request %q than line %d of %s; remove the line, or choose "+
			"another --out", id, e.line, in.name)
	case e.done:
		return fmt.Errorf("answers the request %q a second time; remove one of the two lines", id)
	}
	e.done = true
	in.requests[key] = e
	in.done++
	o.model = cmp.Or(o.model, answer.Response.Body.Model)
	o.Fingerprint = cmp.Or(o.Fingerprint, answer.Response.Body.Fingerprint)
	return nil
}

// append writes one line.
func (o *Output) append(a *finished) error {
	var b bytes.Buffer
	r, name := a.response, a.request.Name()
	err := show.WriteJSONLine(&b, responseLine{
		ID: idPrefix + name, CustomID: a.request.CustomID,
		Response: response{Status: r.Status, RequestID: "req_" + name, Body: r.Body},
	})
	if err != nil {
		return o.failed(err)
	}
	o.unsynced = true
	n, err := o.file.Write(b.Bytes())
	switch {
	case err == nil:
		o.size += int64(n)
		return nil
	case n > 0:
		err = errors.Join(regular.Reason(err), o.cut())
	}
	return o.failed(err)
}

// cut removes what is behind the whole lines. It opens the file again, because Windows does not shorten a
// file that is open for appending.
func (o *Output) cut() error {
	f, err := os.OpenFile(o.name, os.O_WRONLY|regular.NoWait, 0)
	if err != nil {
		return regular.Reason(err)
	}
	defer func() { _ = f.Close() }()
	ours, err := o.file.Stat()
	if err != nil {
		return regular.Reason(err)
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(ours, now) {
		return errReplaced
	}
	return regular.Reason(f.Truncate(o.size))
}

var errReplaced = errors.New("was replaced by another file while phi3 was running")

// sync forces the lines to the disk. It fails if the file does not have the lines that were written, or is no
// longer at its name.
func (o *Output) sync() error {
	if o.unsynced {
		o.unsynced = false
		if err := o.file.Sync(); err != nil {
			return o.failed(err)
		}
	}
	ours, err := o.file.Stat()
	if err != nil {
		return o.failed(err)
	}
	now, err := os.Stat(o.name)
	switch {
	case regular.IsAbsent(err):
		err = errors.New("was removed while phi3 was running")
	case err != nil:
	case !os.SameFile(ours, now):
		err = errReplaced
	case ours.Size() < o.size:
		err = errors.New("was shortened while phi3 was running")
	}
	if err != nil {
		return o.failed(err)
	}
	return nil
}
