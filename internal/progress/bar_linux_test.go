package progress

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/show/showtest"
)

// Work that is quicker than the delay, which no machine reaches here, shows nothing.
func TestQuickWorkShowsNothing(t *testing.T) {
	program, screen, err := showtest.NewTerminal()
	require.NoError(t, err)
	defer func() { _ = screen.Close() }()
	quick := startAfter(time.Hour, program, Loading)
	quick.Update(1, 2)
	quick.Update(2, 2)
	quick.Stop()
	require.NoError(t, program.Close())
	var shown bytes.Buffer
	_, _ = shown.ReadFrom(screen) // the end is an error: the other side is closed
	require.Empty(t, shown.String())
}
