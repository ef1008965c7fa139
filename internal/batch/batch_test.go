package batch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// file writes a file of requests with these custom_ids, and returns its name.
func file(t *testing.T, ids ...string) string {
	t.Helper()
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, `{"custom_id": %q, "method": "POST", "url": "/v1/completions", `+
			`"body": {"prompt": %q}}`+"\n", id, "about "+id)
	}
	name := filepath.Join(t.TempDir(), "requests.jsonl")
	require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o600))
	return name
}

// echo answers with the body of the request, and refuses the request "bad".
func echo(_ context.Context, r *Request) (*Response, error) {
	if r.CustomID == "bad" {
		return &Response{Status: 400, Body: map[string]any{"error": "no"}}, nil
	}
	return &Response{
		Status: 200, Prompt: 2, Generated: 3, Body: map[string]any{"model": "echo", "text": string(r.Body)},
	}, nil
}

// run answers in a file of requests what the output lacks.
func run(
	ctx context.Context, in, out string, parallel int, answer Answer,
) (t Totals, notes []string, err error) {
	i, err := OpenInput(ctx, in)
	if err != nil {
		return t, nil, err
	}
	defer func() { _ = i.Close() }()
	o, err := OpenOutput(ctx, out, i)
	if err != nil {
		return t, nil, err
	}
	defer func() { _ = o.Close() }()
	t, err = Run(ctx, i, o, Options{Parallel: parallel, Answer: answer, Progress: func(int, int) {}})
	return t, o.Notes, err
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// sorted returns the lines of a file in one order, because they are written as they are finished.
func sorted(t *testing.T, name string) []string {
	t.Helper()
	lines := strings.SplitAfter(read(t, name), "\n")
	slices.Sort(lines)
	return lines[1:] // without what is behind the last newline
}

// A line has OpenAI's keys, and its ids depend only on the request. A request that is refused has its status.
func TestLines(t *testing.T) {
	in, out := file(t, "first", "bad"), filepath.Join(t.TempDir(), "out.jsonl")
	totals, notes, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	require.Empty(t, notes)
	require.Equal(t, Totals{Answered: 1, Refused: 1, Prompt: 2, Generated: 3}, totals)
	require.Equal(t, `{"id":"batch_req_0b459276a2d4f4cd1e4ff2dc","custom_id":"first","response":`+
		`{"status_code":200,"request_id":"req_0b459276a2d4f4cd1e4ff2dc","body":`+
		`{"model":"echo","text":"{\"prompt\": \"about first\"}"}},"error":null}
{"id":"batch_req_b727ec39bb54e27e6eeeeac1","custom_id":"bad","response":`+
		`{"status_code":400,"request_id":"req_b727ec39bb54e27e6eeeeac1","body":{"error":"no"}},"error":null}
`, read(t, out))

	// A second run finds nothing to do and changes nothing.
	before := read(t, out)
	totals, _, err = run(t.Context(), in, out, 1, nil)
	require.NoError(t, err)
	require.Equal(t, Totals{}, totals)
	require.Equal(t, before, read(t, out))
}

// A kill leaves any number of bytes. The next run makes the file whole, and computes only what is missing.
func TestTornAtEveryByte(t *testing.T) {
	in, out := file(t, "a", "b", "bad", "c", "d"), filepath.Join(t.TempDir(), "out.jsonl")
	_, _, err := run(t.Context(), in, out, 2, echo)
	require.NoError(t, err)
	whole, want := read(t, out), sorted(t, out)
	require.Len(t, want, 5)
	lines := strings.SplitAfter(whole, "\n")
	lastTwo := len(whole) - len(lines[3]) - len(lines[4])
	for cut := lastTwo; cut < len(whole); cut++ {
		require.NoError(t, os.WriteFile(out, []byte(whole[:cut]), 0o600))
		var computed atomic.Int32
		count := func(ctx context.Context, r *Request) (*Response, error) {
			computed.Add(1)
			return echo(ctx, r)
		}
		totals, notes, err := run(t.Context(), in, out, 2, count)
		require.NoError(t, err)
		missing := 5 - strings.Count(whole[:cut], "\n")
		require.EqualValues(t, missing, computed.Load(), "cut at %d", cut)
		require.Equal(t, missing, totals.Answered+totals.Refused)
		require.Equal(t, want, sorted(t, out), "cut at %d", cut)
		if torn := cut > 0 && whole[cut-1] != '\n'; torn {
			require.Len(t, notes, 1)
			require.Contains(t, notes[0], "the last line is not complete")
		} else {
			require.Empty(t, notes)
		}
	}
}

// A power failure can leave zeros in the place of what was written, also in front of a newline.
func TestZerosAtTheEnd(t *testing.T) {
	in, out := file(t, "a", "b"), filepath.Join(t.TempDir(), "out.jsonl")
	_, _, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	whole := read(t, out)
	first, _, _ := strings.Cut(whole, "\n")
	for _, tail := range []string{"\x00\x00\x00", `{"id":"batch_req_1` + "\x00\x00\n", "\x00\n"} {
		require.NoError(t, os.WriteFile(out, []byte(first+"\n"+tail), 0o600))
		_, notes, err := run(t.Context(), in, out, 1, echo)
		require.NoError(t, err)
		require.Len(t, notes, 1)
		require.Equal(t, whole, read(t, out))
	}
}

// Requests begin in the order of the file, and no more than Parallel of them are answered at once.
func TestParallel(t *testing.T) {
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint(i))
	}
	in := file(t, ids...)
	for _, parallel := range []int{1, 3} {
		var running atomic.Int32
		begun := make(chan string, len(ids))
		_, _, err := run(t.Context(), in, filepath.Join(t.TempDir(), "out.jsonl"), parallel,
			func(ctx context.Context, r *Request) (*Response, error) {
				if n := int(running.Add(1)); n > parallel {
					return nil, fmt.Errorf("%d requests are answered at once", n)
				}
				defer running.Add(-1)
				begun <- r.CustomID
				return echo(ctx, r)
			})
		require.NoError(t, err)
		for i := range ids {
			id := <-begun
			if parallel == 1 {
				require.Equal(t, ids[i], id)
			}
		}
	}
}

// A fault of the device ends the run. What was complete is kept, and the next run does the rest.
func TestFaultKeepsWhatIsDone(t *testing.T) {
	in, out := file(t, "a", "b", "c", "d"), filepath.Join(t.TempDir(), "out.jsonl")
	_, _, err := run(t.Context(), in, out, 1, func(ctx context.Context, r *Request) (*Response, error) {
		if r.CustomID == "c" {
			return nil, errors.New("the GPU is on fire")
		}
		return echo(ctx, r)
	})
	require.EqualError(t, err, in+`, line 3 (custom_id "c"): the GPU is on fire`)
	require.Len(t, sorted(t, out), 2)
	totals, _, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	require.Equal(t, 2, totals.Answered)
	require.Len(t, sorted(t, out), 4)
}

// An interruption drops the requests that are being answered.
func TestInterrupted(t *testing.T) {
	in, out := file(t, "a", "b", "c", "d"), filepath.Join(t.TempDir(), "out.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := run(ctx, in, out, 2, func(ctx context.Context, r *Request) (*Response, error) {
		if r.CustomID != "a" {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return echo(ctx, r)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "context canceled", err.Error())
	totals, _, err := run(t.Context(), in, out, 2, echo)
	require.NoError(t, err)
	require.GreaterOrEqual(t, totals.Answered, 3)
	require.Len(t, sorted(t, out), 4)
}

// An input that changes between the check and the answer is not answered, and the run fails.
func TestInputChanges(t *testing.T) {
	in := file(t, "a", "b")
	whole := read(t, in)
	first, second, _ := strings.Cut(whole, "\n")
	for _, test := range []struct{ text, want string }{
		{strings.Replace(whole, "about b", "above b", 1), ", line 2: was changed while phi3 was running"},
		{first + "\n", ": was shortened while phi3 was running"},
		{"", ": was shortened while phi3 was running"},
		{first + "\n" + first + "\n", ", line 2: was changed while phi3 was running"},
		{second + first + "\n", ", line 1: was changed while phi3 was running"},
		{whole + strings.Replace(first, `"a"`, `"c"`, 1), ", line 3: was changed while phi3 was running"},
	} {
		require.NoError(t, os.WriteFile(in, []byte(whole), 0o600))
		out := filepath.Join(t.TempDir(), "out.jsonl")
		i, err := OpenInput(t.Context(), in)
		require.NoError(t, err)
		defer func() { _ = i.Close() }()
		o, err := OpenOutput(t.Context(), out, i)
		require.NoError(t, err)
		defer func() { _ = o.Close() }()
		require.NoError(t, os.WriteFile(in, []byte(test.text), 0o600))
		_, err = Run(t.Context(), i, o, Options{Parallel: 1, Answer: echo, Progress: func(int, int) {}})
		require.EqualError(t, err, in+test.want)
		require.NotContains(t, read(t, out), "above b")
	}
}

// A run whose output loses lines fails: its exit code would say that every request has a line.
func TestOutputChanges(t *testing.T) {
	in, other := file(t, "a", "b"), filepath.Join(t.TempDir(), "other")
	for want, change := range map[string]func(out string) error{
		"was removed while phi3 was running":   os.Remove,
		"was shortened while phi3 was running": func(out string) error { return os.Truncate(out, 0) },
		"was replaced by another file while phi3 was running": func(out string) error {
			return errors.Join(os.WriteFile(other, nil, 0o600), os.Rename(other, out))
		},
	} {
		out := filepath.Join(t.TempDir(), "out.jsonl")
		_, _, err := run(t.Context(), in, out, 1, func(ctx context.Context, r *Request) (*Response, error) {
			if r.CustomID == "b" {
				written := func() bool { return read(t, out) != "" }
				require.Eventually(t, written, time.Minute, time.Millisecond)
				require.NoError(t, change(out))
			}
			return echo(ctx, r)
		})
		require.EqualError(t, err, out+": "+want)
	}
}
