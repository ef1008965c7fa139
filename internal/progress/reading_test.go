package progress

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The engine computes ahead of the reader of its tokens. An Update while the text begins does no harm, and the
// note comes even if the reader has not taken the first token.
func TestReadingAheadOfItsReader(t *testing.T) {
	for range 100 {
		var notes strings.Builder
		r := NewReading(&notes, 32, false)
		var engine sync.WaitGroup
		engine.Go(func() {
			r.Update(20, 30)
			r.Update(30, 30)
			r.Update(16, 33) // everything again
			r.Update(33, 33)
		})
		r.Stop()
		engine.Wait()
		require.Equal(t, 1, strings.Count(notes.String(), "note: beyond 32 tokens"))
	}
}
