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
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"phi3/internal/show/showtest"
)

func init() { commands["terminal"] = terminal }

// terminal FILE COMMAND ARGS…: runs a command at a pseudo-terminal. Every line of the file is one of
//
//	see REGEXP    wait for this text, after the text of the last see
//	type KEYS     a Go string without its quotes: \r is Enter, \x03 Ctrl-C, \x04 Ctrl-D
//	signal NAME   TERM
//	env NAME=VALUE
//	resize N      set the number of columns, which is 100 at first
//
// The command must end with exit code 0, or with that of a line "exits N". The file screen has all that was
// shown.
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	program, screen, err := showtest.NewTerminal()
	ts.Check(err)
	defer func() { _ = screen.Close() }()
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{
		"HOME", "PATH", "FAKE_GPU", "FAKE_MEMORY", "NO_COLOR", "TERM",
		"XDG_STATE_HOME",
	} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	// only scripts set it, because an empty value has a meaning
	for _, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if setting, ok := strings.CutPrefix(line, "env "); ok {
			cmd.Env = append(cmd.Env, os.Expand(setting, ts.Getenv))
		}
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
		case "resize":
			columns, err := strconv.ParseUint(rest, 10, 16)
			ts.Check(err)
			ts.Check(unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ,
				&unix.Winsize{Row: 24, Col: uint16(columns)}))
		case "env":
		case "exits":
			want, err = strconv.Atoi(rest)
			ts.Check(err)
		default:
			ts.Fatalf("%s: %q", args[0], line)
		}
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	late.Stop()
	shown.wait(nil)
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, not %d; all that was shown:\n%s", got, want, shown.all())
	}
}

// watched is a screen that can wait for a text.
type watched struct {
	sync.Mutex
	text   string
	seen   int // start of the text that no wait has matched
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

// wait returns true when r matches or, for nil, when the screen is closed. It returns false if that does not
// happen.
func (w *watched) wait(r *regexp.Regexp) bool {
	for range 12000 { // gives up after 2 minutes
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
