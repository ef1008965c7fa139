// Package batch answers a file of requests: JSON lines in, JSON lines out, in the format of OpenAI's Batch
// API.
//
// A run can end at any time, by a kill or a power failure. A line of the output is written whole, in one
// write, when its answer is complete. What a kill leaves of a line is cut off when the file is opened again,
// and the next run answers only the requests that have no line.
//
//   - [Input] is the file of requests. It is read twice: once to check all of it, and once to answer it.
//     Memory holds a few bytes for each request, and the requests that are being answered.
//   - [Output] is the file of answers.
//   - [Run] answers the requests that have no line in the output.
package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"phi3/internal/show"
)

// Answer answers one request. An error ends the run, and the request has no line in the output: it is for
// faults of the device or the program. A request that the protocol refuses has a Response.
type Answer func(ctx context.Context, r *Request) (*Response, error)

// Response is the answer to one request.
type Response struct {
	Status            int // of HTTP
	Body              any // of the response, as JSON
	Prompt, Generated int // tokens
}

// Totals is what a run did.
type Totals struct {
	Answered, Refused int // lines; those with a status of 200, and the others
	Prompt, Generated int // tokens
}

// Options say how [Run] answers.
type Options struct {
	Parallel int // requests that are answered at once
	Answer   Answer
	Progress func(done, of int) // called on the goroutine that called Run
}

// syncEvery is how often lines are forced to the disk. A power failure loses the lines of at most this time.
const syncEvery = time.Second

// finished is an answered request.
type finished struct {
	request  *Request
	response *Response
}

// Run answers the requests of in that have no line in out. It begins them in the order of the file and writes
// each line as soon as it is complete, so lines are in another order. After an error, out has all lines that
// were complete; calls of Answer may then end later than Run.
func Run(ctx context.Context, in *Input, out *Output, o Options) (t Totals, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	left := make(chan struct{})
	defer close(left)
	requests := make(chan *Request)
	answers := make(chan finished, o.Parallel) // a complete answer does not wait for the disk
	var running sync.WaitGroup
	running.Go(func() {
		defer close(requests)
		if err := feed(ctx, in, requests); err != nil {
			stop(err)
		}
	})
	for range o.Parallel {
		running.Go(func() {
			for r := range requests {
				response, err := o.Answer(ctx, r)
				if err != nil {
					stop(r.failed(in.name, err))
					return
				}
				select {
				case answers <- finished{r, response}:
				case <-left:
				}
			}
		})
	}
	go func() {
		running.Wait()
		close(answers)
	}()
	return write(ctx, in, out, answers, o.Progress)
}

// feed sends the requests that have no line in the output.
func feed(ctx context.Context, in *Input, requests chan<- *Request) error {
	for r, err := range in.missing(ctx) {
		if err != nil {
			return err
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// write writes the answers as they come, until the channel is closed or ctx is done.
func write(
	ctx context.Context, in *Input, out *Output, answers <-chan finished, progress func(done, of int),
) (t Totals, err error) {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for more := true; more; {
		progress(t.Answered+t.Refused, in.Missing())
		select {
		case a, ok := <-answers:
			if more = ok; !ok {
				break
			}
			if err := out.append(&a); err != nil {
				return t, err
			}
			t.add(a.response)
		case <-tick.C:
			if err := out.sync(); err != nil {
				return t, err
			}
		case <-ctx.Done():
			more = len(answers) > 0
		}
	}
	return t, cmp.Or(context.Cause(ctx), out.sync())
}

func (t *Totals) add(r *Response) {
	if r.Status == http.StatusOK {
		t.Answered++
	} else {
		t.Refused++
	}
	t.Prompt += r.Prompt
	t.Generated += r.Generated
}

// failed returns the error of a request that could not be answered.
func (r *Request) failed(file string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s, line %d (custom_id %q): %w", file, r.Line, show.Brief(r.CustomID), err)
}
