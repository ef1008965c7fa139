package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pseudoTerminal returns both ends of one: what is written to screen comes out of program as a terminal shows it.
func pseudoTerminal(t *testing.T) (program, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	fd := int(screen.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return program, screen
}

// onTerminal runs phi3 with its stderr on a terminal, and returns all that went there.
func onTerminal(t *testing.T, env string, args ...string) string {
	t.Helper()
	program, screen := pseudoTerminal(t)
	cmd := exec.Command("phi3", args...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = program
	require.NoError(t, cmd.Start())
	require.NoError(t, program.Close())
	var shown bytes.Buffer
	_, _ = shown.ReadFrom(screen) // the end is an error: the other side is closed
	require.NoError(t, cmd.Wait(), shown.String())
	return shown.String()
}

func TestProgress(t *testing.T) {
	// A slow load shows a bar, and takes it away: the last thing it does there is to go up a line and erase, before the next line is said.
	shown := onTerminal(t, "FAKE_GPU=slow", "generate", "--prompt", "Hello", "-n", "1")
	require.Regexp(t, `loading +\[=*>?-*\] [0-9.]+ [kM]B / 5\.5 MB +[0-9.]+ [kM]B/s +[0-9]+s left`, shown)
	before, after, found := strings.Cut(shown, "model: phi3-demo")
	require.True(t, found)
	require.Regexp(t, "\x1b\\[[0-9]*A\x1b\\[J$", before)
	require.NotContains(t, after, "\x1b")
	require.Greater(t, strings.Count(before, "loading"), 2, "the bar moves")

	// A quick one shows nothing.
	shown = onTerminal(t, "FAKE_GPU=", "generate", "--prompt", "Hello", "-n", "1")
	require.NotContains(t, shown, "loading")
	require.NotContains(t, shown, "\x1b")

	// Neither does one whose stderr is a file or a pipe.
	cmd := exec.Command("phi3", "generate", "--prompt", "Hello", "-n", "1")
	cmd.Env = append(os.Environ(), "FAKE_GPU=slow")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Run())
	require.Regexp(t, `^opened a slow GPU\nmodel: phi3-demo.*\n$`, stderr.String())
}
