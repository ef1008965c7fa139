package progress

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The engine computes ahead of the reader of its tokens. The note comes even if the reader has not taken the
// first token, and comes once. An Update while the text begins does no harm.
func TestReadingAheadOfItsReader(t *testing.T) {
	var notes strings.Builder
	r := NewReading(&notes, 32, false)
	r.Update(20, 30)
	r.Update(30, 30)
	require.Empty(t, notes.String())
	r.Update(16, 33) // everything again
	r.Update(33, 33)
	require.Equal(t, 1, strings.Count(notes.String(), "note: beyond 32 tokens"))
	r.Stop()

	r = NewReading(&notes, 0, false)
	var engine sync.WaitGroup
	engine.Go(func() {
		for n := range 100 {
			r.Update(n, n)
		}
	})
	r.Stop()
	engine.Wait()
	r.Stop()
}
