//go:build darwin || freebsd || linux

package batch

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Two runs cannot write one output at once.
func TestLock(t *testing.T) {
	in, out := file(t, "a"), filepath.Join(t.TempDir(), "out.jsonl")
	i, err := OpenInput(t.Context(), in)
	require.NoError(t, err)
	defer func() { _ = i.Close() }()
	o, err := OpenOutput(t.Context(), out, i)
	require.NoError(t, err)
	_, _, err = run(t.Context(), in, out, 1, nil)
	require.EqualError(t, err, out+": is being written by another phi3 batch; wait until it ends, or choose "+
		"another --out")
	require.NoError(t, o.Close())
	_, _, err = run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
}

// A limit on the size of files ends a write in the middle of a line, as a full disk does. The file then ends
// with a whole line, and the next run completes it. Its first line is long, because the limit is also for the
// file in which go test notes the files that a test opens.
func TestFullDisk(t *testing.T) {
	in := file(t, strings.Repeat("a", 1<<19), "b", "c", "d", "e")
	out := filepath.Join(t.TempDir(), "out.jsonl")
	_, _, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	want := read(t, out)
	lines := strings.SplitAfter(want, "\n")
	first, next := len(lines[0]), len(lines[1])

	signal.Ignore(unix.SIGXFSZ) // the write fails and does not end the process
	defer signal.Reset(unix.SIGXFSZ)
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	for _, room := range []int{0, 1, next - 1, next, next + 1, len(want) - first - 1} {
		require.NoError(t, os.WriteFile(out, []byte(lines[0]), 0o600))
		limit := before
		limit.Cur = uint64(first + room)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
		totals, _, err := run(t.Context(), in, out, 1, echo)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before))
		require.EqualError(t, err, out+": file too large")
		got := read(t, out)
		require.True(t, strings.HasPrefix(want, got))
		require.True(t, strings.HasSuffix(got, "\n"))
		require.Equal(t, 1+totals.Answered, strings.Count(got, "\n"))
		require.Greater(t, len(got)+len(lines[1+totals.Answered]), first+room, "what fits is there")

		_, notes, err := run(t.Context(), in, out, 1, echo)
		require.NoError(t, err)
		require.Empty(t, notes)
		require.Equal(t, want, read(t, out))
	}
}

// Empty lines of an output, which an editor may leave, do not cost a line when the disk is full.
func TestFullDiskAfterEmptyLines(t *testing.T) {
	in := file(t, strings.Repeat("a", 1<<19), "b", "c") // long, as in TestFullDisk
	out := filepath.Join(t.TempDir(), "out.jsonl")
	_, _, err := run(t.Context(), in, out, 1, echo)
	require.NoError(t, err)
	lines := strings.SplitAfter(read(t, out), "\n")
	begin := lines[0] + "\n \n\n"
	require.NoError(t, os.WriteFile(out, []byte(begin), 0o600))

	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	limit := before
	limit.Cur = uint64(len(begin) + len(lines[1]) + 5)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	_, _, err = run(t.Context(), in, out, 1, echo)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before))
	require.EqualError(t, err, out+": file too large")
	require.Equal(t, begin+lines[1], read(t, out))
}
