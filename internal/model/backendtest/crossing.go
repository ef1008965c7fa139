package backendtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/generate"
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// testCrossing goes over the length beyond which long RoPE takes its other factors, forwards and back, in
// every way in which a sequence can: everything cached is void then, and what is computed anew must be, byte
// for byte, what an uncached pass gives. m takes the tokens of several such sequences in one step.
func testCrossing(t *testing.T, m *model.Model, ids []int32, want [][]float32, effort Effort) {
	crossing := m.Config.Crossing()
	first, last := max(1, crossing-effort.of(4, 1)), crossing+effort.of(4, 2)
	require.LessOrEqual(t, last, len(ids))
	check := func(t *testing.T, s *generate.Session, n int, how string) {
		t.Helper()
		s.Append(ids[s.Len():n]...)
		logits, err := s.Logits(context.Background())
		require.NoError(t, err)
		requireSameBits(t, want[n], logits, "%d tokens %s, crossing at %d", n, how, crossing)
	}

	t.Run("uncached", func(t *testing.T) {
		for n := first; n <= last; n++ {
			s := generate.NewSession(m, true)
			check(t, s, n, "at once")
			s.Close()
		}
	})
	t.Run("decode", func(t *testing.T) { // a prompt of every length, then 1 or more tokens at a time
		for start := first; start <= crossing+1; start++ {
			for size := 1; size <= effort.of(4, 2); size++ {
				s := generate.NewSession(m, false)
				for n := start; n <= last; n += size {
					check(t, s, n, "in steps")
				}
				s.Close()
			}
		}
	})
	// in chunks that end before, at and after the crossing: the whole decides, not the chunk
	t.Run("prefill", func(t *testing.T) {
		for n := crossing; n <= crossing+effort.of(4, 1); n++ {
			for _, chunk := range []int{
				crossing - 1, crossing, crossing + 1, crossing/2 + 1, 3,
				1,
			}[:effort.of(6, 4)] {
				cache := m.NewCache()
				_, logits := feed(t, m, cache, ids[:n], chunk)
				requireSameBits(t, want[n], logits[n-1], "%d tokens in chunks of %d", n, chunk)
				cache.Reset()
			}
		}
	})
	t.Run("batch", func(t *testing.T) { // sequences on both sides, each of which crosses in another step
		caches := make([]*kvcache.Cache, 3)
		for i := range caches {
			caches[i] = m.NewCache()
			defer caches[i].Reset()
			feed(t, m, caches[i], ids[:crossing-i], crossing)
		}
		out, width := &model.Output{}, m.Config.HeadRows()
		for step := 1; step <= len(caches)+1; step++ {
			var batch []model.Sequence
			for i, c := range caches {
				n := crossing - i + step
				from, err := c.Prepare(n)
				require.NoError(t, err)
				if n == crossing+1 {
					require.Zero(t, from, "keys of the other factors are void")
				} else {
					require.Equal(t, n-1, from)
				}
				batch = append(batch, model.Sequence{IDs: ids[from:n], Cache: c})
			}
			require.NoError(t, m.Forward(context.Background(), batch, out))
			for i := range caches {
				requireSameBits(t, want[crossing-i+step], out.Logits[i*width:(i+1)*width],
					"step %d, sequence %d of a batch", step, i)
			}
		}
	})
	t.Run("back", func(t *testing.T) { // a tail is taken off: the short factors apply again
		cache := m.NewCache()
		defer cache.Reset()
		for _, n := range []int{crossing + 2, crossing, crossing + 1, crossing - 1, crossing, last} {
			cache.Truncate(n - 1)
			_, logits := feed(t, m, cache, ids[:n], m.MaxTokens())
			requireSameBits(t, want[n], logits[len(logits)-1],
				"%d tokens, after a longer or shorter sequence", n)
		}
	})
}
