package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// errSlow ends an answer whose client does not take it.
var errSlow = errors.New("the client takes the answer too slowly")

// stream answers with the chunks of an answer as server-sent events. The status is sent with the first chunk,
// so an error before it has its own status. A later error is an event.
func (s *Server) stream(x *exchange) error {
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	e := &events{Server: s, x: x, cancel: cancel}
	e.begin()
	defer e.end()
	for chunk, err := range x.answer.Chunks(ctx) {
		if err != nil {
			return e.fail(err)
		}
		data, err := encode(chunk)
		if err != nil {
			return e.fail(err)
		}
		if err := e.send("data: ", data); err != nil {
			return err
		}
	}
	return e.send("data: ", []byte("[DONE]\n"))
}

// events is a stream of server-sent events. While none comes, a comment now and then shows that the
// connection is alive, because a long prompt can take longer than the patience of clients and proxies.
type events struct {
	*Server
	x       *exchange
	cancel  func() // the answer
	silence *time.Timer

	mu    sync.Mutex // the timer's function runs on a goroutine of its own
	ended bool
	err   error // of the first write that failed
}

// comment sends a comment, which clients skip.
func (e *events) comment() {
	if e.send(": waiting", []byte("\n")) != nil {
		e.cancel()
	}
}

// send sends one event at once. data ends with a newline and has no other.
func (e *events) send(field string, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil || e.ended {
		return e.err
	}
	if e.x.status == 0 {
		h := e.x.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // nginx passes on each event at once
		e.x.WriteHeader(http.StatusOK)
	}
	begun := time.Now()
	e.deadline(e.x)
	_, err := e.x.Write(append(append([]byte(field), data...), '\n'))
	if err == nil {
		err = http.NewResponseController(e.x).Flush()
	}
	if err == nil {
		// The deadline of HTTP/2 also ends a stream to which nobody writes.
		_ = http.NewResponseController(e.x).SetWriteDeadline(time.Time{})
		e.silence.Reset(e.waitingEvery)
	}
	e.err = e.notTaken(begun, err)
	return e.err
}

// notTaken says why a client has not taken what the server began to write at a time: err, or nil.
func (s *Server) notTaken(begun time.Time, err error) error {
	switch {
	case err == nil:
		return nil
	case time.Since(begun) >= s.writeTimeout: // HTTP/2 does not say which error the deadline is
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return fmt.Errorf("%w: %w", context.Canceled, err) // the client has gone away
}

// fail ends the stream with an error: as an event if the status has been sent.
func (e *events) fail(err error) error {
	e.mu.Lock()
	sent, broken := e.x.status != 0, e.err
	e.mu.Unlock()
	if broken != nil {
		return broken // a comment could not be sent, so the answer was cancelled
	}
	if data, bad := encode(e.x.asError(err)); sent && bad == nil {
		_ = e.send("data: ", data)
	}
	return err
}

// begin lets comments follow.
func (e *events) begin() {
	e.mu.Lock() // comment needs silence
	defer e.mu.Unlock()
	e.silence = time.AfterFunc(e.waitingEvery, e.comment)
}

// end lets no comment follow.
func (e *events) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.silence.Stop()
}
