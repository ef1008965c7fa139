package cli

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

func init() { commands["terminal"] = terminal }

// terminal FILE COMMAND ARGS…: runs a command at a pseudo-terminal. Every line of the file is one of
//
//	see REGEXP    wait until that has been shown, after what the last one saw
//	type KEYS     a Go string without its quotes: \r is Enter, \x03 Ctrl-C, \x04 Ctrl-D
//	signal NAME   TERM
//
// The command must end by itself, with exit code 0, or that of a line "exits N". What was shown is in the file screen.
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	program, screen, err := newPseudoTerminal()
	ts.Check(err)
	defer func() { _ = screen.Close() }()
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "FAKE_GPU", "FAKE_MEMORY", "NO_COLOR", "TERM"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	ts.Check(cmd.Start())
	ts.Check(program.Close())
	defer func() { _ = cmd.Process.Kill() }()
	shown := &watched{}
	go func() {
		_, _ = io.Copy(shown, screen) // the end is an error: the other side is closed
		shown.close()
	}()
	defer func() { ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(shown.all()), 0o600)) }()

	want := 0
	for _, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "see":
			if !shown.wait(regexp.MustCompile(rest)) {
				ts.Fatalf("%q was not shown; all that was:\n%s", rest, shown.all())
			}
		case "type":
			keys, err := strconv.Unquote(`"` + rest + `"`)
			ts.Check(err)
			_, err = io.WriteString(screen, keys)
			ts.Check(err)
		case "signal":
			ts.Check(cmd.Process.Signal(syscall.SIGTERM))
		case "exits":
			want, err = strconv.Atoi(rest)
			ts.Check(err)
		default:
			ts.Fatalf("%s: %q", args[0], line)
		}
	}
	_ = cmd.Wait()
	shown.wait(nil)
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, not %d; all that was shown:\n%s", got, want, shown.all())
	}
}

// watched is a screen on which one waits for something to appear.
type watched struct {
	sync.Mutex
	text   string
	seen   int // beginning of what has not been seen yet
	closed bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	w.text += string(p)
	return len(p), nil
}

func (w *watched) close() {
	w.Lock()
	defer w.Unlock()
	w.closed = true
}

func (w *watched) all() string {
	w.Lock()
	defer w.Unlock()
	return w.text
}

// wait returns when r is shown, or for nil, when the screen is closed; false if that will not happen any more.
func (w *watched) wait(r *regexp.Regexp) bool {
	for range 2000 { // 20 s: not a time to measure, but one to give up
		w.Lock()
		text, closed := w.text[w.seen:], w.closed
		var at []int
		if r != nil {
			at = r.FindStringIndex(text)
		}
		if at != nil {
			w.seen += at[1]
		}
		w.Unlock()
		if at != nil || closed {
			return at != nil || r == nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func TestKeys(t *testing.T) {
	read := func(chunks ...string) (string, *keyReader) {
		k := &keyReader{in: &chunkReader{chunks}, pastes: map[string]string{}}
		data, err := io.ReadAll(k)
		require.NoError(t, err)
		return string(data), k
	}
	got, k := read("abc\r")
	require.Equal(t, "abc\r", got)
	require.False(t, k.interrupted)
	got, k = read("ab\x03")
	require.Equal(t, "ab\x05\x15\r", got)
	require.True(t, k.interrupted)

	// A short paste is typed; marks may be cut anywhere.
	whole := "x\x1b[200~pasted\x1b[201~y"
	for cut := range whole {
		got, _ = read(whole[:cut], whole[cut:])
		require.Equal(t, "xpastedy", got)
	}
	// Other escape sequences pass, such as the arrow keys.
	got, _ = read("\x1b", "[A\x1b[2", "D\x1b[20", "0x")
	require.Equal(t, "\x1b[A\x1b[2D\x1b[200x", got)
	// A long one, or one with ends of lines, tabs or control characters, gets a label.
	long := strings.Repeat("é", 5000)
	got, k = read("see \x1b[200~one\r\n\ttwo\rthree\n\x1b[201~ and \x1b[200~" + long + "\x1b[201~ and \x1b[200~\x03\x1b[A\xff\x1b[201~\r")
	require.Equal(t, "see [paste 1: 3 lines, 15 characters] and [paste 2: 1 lines, 5000 characters] and [paste 3: 1 lines, 5 characters]\r", got)
	require.Equal(t, "see one\n\ttwo\nthree\n and "+long+" and \x03\x1b[A\uFFFD", k.withPastes(strings.TrimSuffix(got, "\r")))
	require.False(t, k.interrupted, "a Ctrl-C that was pasted is text")
	// A label that was edited is no label any more; one that is recalled still is; what is pasted may look like one.
	require.Equal(t, "[paste 1: 3 lines, 15 character]", k.withPastes("[paste 1: 3 lines, 15 character]"))
	k.insert("[paste 1: 3 lines, 15 characters]\n")
	require.Equal(t, "[paste 1: 3 lines, 15 characters]\n", k.withPastes("[paste 4: 1 lines, 34 characters]"))
}

type chunkReader struct{ chunks []string }

func (c *chunkReader) Read(p []byte) (int, error) {
	if len(c.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.chunks[0])
	if c.chunks[0] = c.chunks[0][n:]; c.chunks[0] == "" {
		c.chunks = c.chunks[1:]
	}
	return n, nil
}
