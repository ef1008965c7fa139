package batch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"strings"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// maxLine is the longest line of an input, in bytes.
const maxLine = 16 << 20

// The requests that a batch may have.
const (
	ChatURL       = "/v1/chat/completions"
	CompletionURL = "/v1/completions"
)

// Input is a file of requests, one JSON object on each line.
type Input struct {
	name     string
	file     *os.File
	requests map[idHash]entry
	done     int            // requests that have a line in the output
	models   map[string]int // that requests name, and the first line with each
}

// idHash is the beginning of the SHA-256 of a custom_id. The ids themselves could need much memory.
type idHash [16]byte

// lineHash is the beginning of the SHA-256 of a line. The ids of the line's answer contain it, so phi3
// notices a request that was changed after it was answered.
type lineHash [12]byte

func (h lineHash) String() string { return hex.EncodeToString(h[:]) }

// entry is what memory holds of a request.
type entry struct {
	line int32
	hash lineHash
	done bool
}

// Request is a line of an input.
type Request struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
	Line     int             `json:"-"`
	hash     lineHash
}

// Name is a text that only this request has. It depends only on the line.
func (r *Request) Name() string { return r.hash.String() }

// OpenInput opens a file of requests and checks all its lines. The caller closes it.
func OpenInput(ctx context.Context, name string) (in *Input, err error) {
	file, err := regular.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	in = &Input{name: name, file: file, requests: map[idHash]entry{}, models: map[string]int{}}
	for r, err := range in.all(ctx) {
		if err == nil {
			err = in.add(r)
		}
		if err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	if len(in.requests) == 0 {
		_ = file.Close()
		return nil, fmt.Errorf("%s has no requests", name)
	}
	return in, nil
}

// Close closes the file.
func (in *Input) Close() error { return in.file.Close() }

// Len is the number of requests.
func (in *Input) Len() int { return len(in.requests) }

// Missing is the number of requests that have no line in the output.
func (in *Input) Missing() int { return len(in.requests) - in.done }

func (in *Input) add(r *Request) error {
	key := hashID(r.CustomID)
	if first, ok := in.requests[key]; ok {
		return fmt.Errorf("%s, line %d: custom_id %q is on line %d too; each request needs its own", in.name,
			r.Line, show.Brief(r.CustomID), first.line)
	}
	in.requests[key] = entry{line: int32(r.Line), hash: r.hash}
	var body struct{ Model string }
	// a body with another type of model is refused when it is answered
	if json.Unmarshal(r.Body, &body) == nil && body.Model != "" && in.models[body.Model] == 0 {
		in.models[body.Model] = r.Line
	}
	return nil
}

// CheckModel returns an error if a request names another model. A request without a name is for any model.
func (in *Input) CheckModel(name string) error {
	for other, line := range in.models {
		if other != name {
			return fmt.Errorf("%s, line %d: the request is for the model %s; this run has %s; put that "+
				"name into the requests, or leave \"model\" out", in.name, line,
				show.Named(show.Brief(other)), show.Named(name))
		}
	}
	return nil
}

// all reads the requests from the beginning of the file. An error has the place, and ends it.
func (in *Input) all(ctx context.Context) iter.Seq2[*Request, error] {
	return func(yield func(*Request, error) bool) {
		if _, err := in.file.Seek(0, io.SeekStart); err != nil {
			yield(nil, fmt.Errorf("%s: %w", in.name, regular.Reason(err)))
			return
		}
		for l, err := range lines(ctx, in.file, maxLine) {
			r := &Request{Line: l.number}
			if err == nil {
				err = r.parse(l.text)
			}
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("%s, line %d: %w", in.name, l.number, err)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// missing reads the requests that have no line in the output. An error ends it. It is an error if the file no
// longer has all the requests that were checked.
func (in *Input) missing(ctx context.Context) iter.Seq2[*Request, error] {
	return func(yield func(*Request, error) bool) {
		read := 0
		for r, err := range in.all(ctx) {
			e := entry{}
			if err == nil {
				e = in.requests[hashID(r.CustomID)]
				if e.hash != r.hash || int(e.line) != r.Line {
					err = fmt.Errorf("%s, line %d: was changed while phi3 was running", in.name, r.Line)
				}
			}
			read++
			if e.done && err == nil {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if read < len(in.requests) {
			yield(nil, fmt.Errorf("%s: was shortened while phi3 was running", in.name))
		}
	}
}

// parse reads the request and checks everything but its body, which the protocol checks.
func (r *Request) parse(text []byte) error {
	text = bytes.TrimSpace(text)
	if err := strictjson.Unmarshal(text, r); err != nil {
		// its line 1 is this line
		return errors.New(strings.Replace(err.Error(), "line 1, column", "column", 1))
	}
	switch {
	case r.CustomID == "":
		return errors.New("has no custom_id")
	case r.Method != http.MethodPost:
		return fmt.Errorf("method is %q, not POST", show.Brief(r.Method))
	case r.URL != ChatURL && r.URL != CompletionURL:
		return fmt.Errorf("url is %q, not %s or %s", show.Brief(r.URL), ChatURL, CompletionURL)
	case len(r.Body) == 0:
		return errors.New("has no body")
	case r.Body[0] != '{':
		return errors.New("body is not an object")
	}
	hash := sha256.Sum256(text)
	copy(r.hash[:], hash[:])
	return nil
}

func hashID(customID string) (h idHash) {
	hash := sha256.Sum256([]byte(customID))
	copy(h[:], hash[:])
	return h
}
