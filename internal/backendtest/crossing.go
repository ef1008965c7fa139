package backendtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/generate"
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// crossing tests sequences around the length beyond which long RoPE uses its other factors, growing and
// shrinking, in every way in which a sequence can. At that length everything cached is void, and what is
// computed again must have the bytes of an uncached pass. b.m takes the tokens of several such sequences
// in one step.
func (b *bits) crossing(t *testing.T) {
	c := crossing{bits: b, at: b.m.Config.Crossing()}
	c.first, c.last = max(1, c.at-b.effort.of(4, 1)), c.at+b.effort.of(4, 2)
	require.LessOrEqual(t, c.last, len(b.ids))
	t.Run("uncached", c.uncached)
	t.Run("decode", c.decode)
	t.Run("prefill", c.prefill)
	t.Run("batch", c.batch)
	t.Run("back", c.back)
}

type crossing struct {
	*bits
	at          int // the longest sequence with the short factors
	first, last int // the lengths to test
}

func (c *crossing) uncached(t *testing.T) {
	for n := c.first; n <= c.last; n++ {
		s := generate.NewSession(c.m, true)
		c.check(t, s, n, "at once")
		s.Close()
	}
}

// decode feeds a prompt of every length, then one or more tokens at a time.
func (c *crossing) decode(t *testing.T) {
	for start := c.first; start <= c.at+1; start++ {
		for size := 1; size <= c.effort.of(4, 2); size++ {
			s := generate.NewSession(c.m, false)
			for n := start; n <= c.last; n += size {
				c.check(t, s, n, "in steps")
			}
			s.Close()
		}
	}
}

// prefill feeds chunks that end before, at and after the crossing: the whole decides, not the chunk.
func (c *crossing) prefill(t *testing.T) {
	sizes := []int{c.at - 1, c.at, c.at + 1, c.at/2 + 1, 3, 1}[:c.effort.of(6, 4)]
	for n := c.at; n <= c.at+c.effort.of(4, 1); n++ {
		for _, size := range sizes {
			cache := c.m.NewCache()
			_, logits := feed(t, c.m, cache, c.ids[:n], size)
			requireSameBits(t, c.want[n], logits[n-1], "%d tokens in chunks of %d", n, size)
			cache.Reset()
		}
	}
}

// batch has sequences on both sides, each of which crosses in another step.
func (c *crossing) batch(t *testing.T) {
	caches := make([]*kvcache.Cache, 3)
	for i := range caches {
		caches[i] = c.m.NewCache()
		defer caches[i].Reset()
		feed(t, c.m, caches[i], c.ids[:c.at-i], c.at)
	}
	out, width := &model.Output{}, c.m.Config.HeadRows()
	for step := 1; step <= len(caches)+1; step++ {
		var batch []model.Sequence
		for i, cache := range caches {
			n := c.at - i + step
			from, err := cache.Prepare(n)
			require.NoError(t, err)
			if n == c.at+1 {
				require.Zero(t, from, "keys of the other factors are void")
			} else {
				require.Equal(t, n-1, from)
			}
			batch = append(batch, model.Sequence{IDs: c.ids[from:n], Cache: cache})
		}
		require.NoError(t, c.m.Forward(context.Background(), batch, out))
		for i := range caches {
			requireSameBits(t, c.want[c.at-i+step], out.Logits[i*width:(i+1)*width],
				"step %d, sequence %d of a batch", step, i)
		}
	}
}

// back takes a tail off: the short factors apply again.
func (c *crossing) back(t *testing.T) {
	cache := c.m.NewCache()
	defer cache.Reset()
	for _, n := range []int{c.at + 2, c.at, c.at + 1, c.at - 1, c.at, c.last} {
		cache.Truncate(n - 1)
		_, logits := feed(t, c.m, cache, c.ids[:n], c.m.MaxTokens())
		requireSameBits(t, c.want[n], logits[len(logits)-1],
			"%d tokens, after a longer or shorter sequence", n)
	}
}
