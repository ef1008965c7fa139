package backendtest

import (
	"context"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/generate"
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// testBits compares bytes: the logits after every prefix must not depend on how the tokens before were fed.
func testBits(t *testing.T, g *Golden, variants []Variant, effort Effort) {
	m := load(t, g, variants[0], false, effort.of(0, 300))
	ids := randomIDs(m, min(2*kvcache.BlockTokens+5, m.Config.MaxPositions))
	b := bits{m, ids, everyLogits(t, m, ids), effort}

	t.Run("uncached", b.uncached)
	t.Run("cached", b.cached)
	t.Run("steps", b.steps)
	t.Run("chunks", func(t *testing.T) { b.chunks(t, g, variants[0]) })
	t.Run("batch", b.batch)
	t.Run("many", b.many)
	if crossing := m.Config.Crossing(); crossing > 0 {
		t.Run("crossing", func(t *testing.T) {
			b := b
			b.m = load(t, g, variants[0], false, 4*(crossing+4))
			b.crossing(t)
		})
	}
	t.Run("truncate", b.truncate)
	if m.Config.Head == model.LMHead {
		t.Run("greedy", b.choices)
	}
	for _, v := range variants[1:] {
		t.Run(v.Name, func(t *testing.T) {
			b := b
			b.m = load(t, g, v, false, 50)
			for n, logits := range everyLogits(t, b.m, ids) {
				requireSameBits(t, b.want[n], logits, "%d tokens", n)
			}
			b.steps(t)
			if effort == Full {
				b.uncached(t)
			}
		})
	}
}

// bits compares the logits that a model computes in several ways.
type bits struct {
	m      *model.Model
	ids    []int32
	want   [][]float32 // the logits after n tokens, at index n
	effort Effort
}

// check compares the session's logits after n tokens.
func (b *bits) check(t *testing.T, s *generate.Session, n int, how string) {
	t.Helper()
	s.Append(b.ids[s.Len():n]...)
	logits, err := s.Logits(context.Background())
	require.NoError(t, err)
	requireSameBits(t, b.want[n], logits, "%d tokens %s", n, how)
}

// cached feeds one token at a time, as in decode.
func (b *bits) cached(t *testing.T) {
	s := generate.NewSession(b.m, false)
	defer s.Close()
	ns := lengths(len(b.ids), b.effort)
	for n := 1; n <= len(b.ids); n++ {
		if b.effort == Short && !slices.ContainsFunc(ns, func(l int) bool { return n <= l && l < n+3 }) {
			continue // the next call feeds this token and its neighbours at once
		}
		b.check(t, s, n, "one at a time")
	}
}

// chunks feeds a prompt in pieces of every kind of size.
func (b *bits) chunks(t *testing.T, g *Golden, v Variant) {
	sizes, ns := []int{2, 7, 8, 9, 127, 128, 129, 300}, []int{9, 33, 65, 129, len(b.ids)}
	if b.effort == Short { // the small ones are among the steps
		sizes, ns = []int{127, 129, 300}, ns[4:]
	}
	for _, size := range sizes {
		m := load(t, g, v, false, size)
		for _, n := range ns {
			s := generate.NewSession(m, true)
			b.check(t, s, n, fmt.Sprintf("in steps of %d", size))
			s.Close()
		}
	}
}

// truncate backs up and goes on: as if the tail had never been there.
func (b *bits) truncate(t *testing.T) {
	cache := b.m.NewCache()
	defer cache.Reset()
	rng := rand.New(rand.NewSource(7))
	ns := lengths(len(b.ids), Full)
	for range b.effort.of(12, 3) {
		cache.Truncate(rng.Intn(len(b.ids)))
		n := ns[rng.Intn(len(ns))]
		cache.Truncate(n - 1)
		from, err := cache.Prepare(n)
		require.NoError(t, err)
		out := &model.Output{}
		for from < n {
			to := min(from+1+rng.Intn(b.m.MaxTokens()), n)
			require.NoError(t, b.m.Forward(context.Background(),
				[]model.Sequence{{IDs: b.ids[from:to], Cache: cache}}, out))
			from = to
		}
		requireSameBits(t, b.want[n], out.Logits, "%d tokens after truncation", n)
	}
}

// everyLogits are the logits after n tokens at index n, for n from 1 to len(ids), from passes that show all
// positions at once. The lengths up to the crossing of long RoPE, where all logits change, have a pass of
// their own.
func everyLogits(t testing.TB, m *model.Model, ids []int32) [][]float32 {
	t.Helper()
	want := [][]float32{nil}
	for _, total := range []int{min(m.Config.Crossing(), len(ids)), len(ids)} {
		cache := m.NewCache()
		_, logits := feed(t, m, cache, ids[:total], m.MaxTokens())
		cache.Reset()
		want = append(want, logits[min(len(want)-1, total):]...)
	}
	return want
}

// feed brings a cache to the given ids, in steps of the given size, and returns how many of them it held
// before, and the logits of every token after those.
func feed(
	t testing.TB, m *model.Model, cache *kvcache.Cache, ids []int32, chunk int,
) (from int, logits [][]float32) {
	t.Helper()
	from, err := cache.Prepare(len(ids))
	require.NoError(t, err)
	out := model.Output{AllLogits: true}
	for part := range slices.Chunk(ids[from:], chunk) {
		require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: part, Cache: cache}}, &out))
		for row := range slices.Chunk(out.Logits, m.Config.HeadRows()) {
			logits = append(logits, slices.Clone(row))
		}
	}
	return from, logits
}

// uncached computes the logits of several lengths, each from nothing.
func (b *bits) uncached(t *testing.T) {
	s := generate.NewSession(b.m, true)
	defer s.Close()
	for _, n := range lengths(len(b.ids), b.effort) {
		b.check(t, s, n, "from nothing")
	}
}

// steps feeds 1, 2, … 9, 1, 2, … tokens at a time: few tokens may take another way through a backend than
// many.
func (b *bits) steps(t *testing.T) {
	m, ids, want := b.m, b.ids, b.want
	cache := m.NewCache()
	defer cache.Reset()
	for n, size := 0, 1; n < len(ids); size = size%9 + 1 {
		n = min(n+size, len(ids))
		from, logits := feed(t, m, cache, ids[:n], size)
		for i, row := range logits {
			if crossing := m.Config.Crossing(); n > crossing && from+i < crossing {
				continue // fed again with the other factors: no length's last token
			}
			requireSameBits(t, want[from+i+1], row, "%d tokens, the last in a step of %d", from+i+1, size)
		}
	}
}

// batch feeds several sequences in one step. Each must get the logits that it gets alone.
func (b *bits) batch(t *testing.T) {
	m, ids, want, effort := b.m, b.ids, b.want, b.effort
	ns := lengths(len(ids), effort)
	caches := make([]*kvcache.Cache, 3)
	for i := range caches {
		caches[i] = m.NewCache()
		defer caches[i].Reset()
	}
	tail := 2
	for first := 0; first+3 <= len(ns); first += effort.of(1, 2) {
		tail = 5 - tail // 9 or 6 new tokens in all, many or few
		var batch []model.Sequence
		for i, c := range caches {
			n := ns[first+i]
			c.Reset()
			from, err := c.Prepare(n)
			require.NoError(t, err)
			for to := n - tail; from < to; { // all but the last few tokens go in alone
				step := min(to, from+m.MaxTokens())
				require.NoError(t, m.Forward(context.Background(),
					[]model.Sequence{{IDs: ids[from:step], Cache: c}}, nil))
				from = step
			}
			batch = append(batch, model.Sequence{IDs: ids[from:n], Cache: c})
		}
		out := &model.Output{}
		require.NoError(t, m.Forward(context.Background(), batch, out))
		for i := range batch {
			n := ns[first+i]
			requireSameBits(t, want[n], out.Logits[i*m.Config.HeadRows():(i+1)*m.Config.HeadRows()],
				"%d tokens in a batch of %v", n, ns[first:first+3])
		}
	}
}

// many feeds more sequences than a decode kernel has columns, in a step of 1 to 8 tokens of each.
func (b *bits) many(t *testing.T) {
	var before, batch []model.Sequence
	for i := range 10 {
		c := b.m.NewCache()
		defer c.Reset()
		n := i + 3
		from, err := c.Prepare(n)
		require.NoError(t, err)
		last := n - 1 - i%8
		before = append(before, model.Sequence{IDs: b.ids[from:last], Cache: c})
		batch = append(batch, model.Sequence{IDs: b.ids[last:n], Cache: c})
	}
	require.NoError(t, b.m.Forward(context.Background(), before, nil))
	out := &model.Output{}
	require.NoError(t, b.m.Forward(context.Background(), batch, out))
	for i := range batch {
		requireSameBits(t, b.want[i+3], out.Logits[i*b.m.Config.HeadRows():(i+1)*b.m.Config.HeadRows()],
			"%d tokens in a batch of %d sequences", i+3, len(batch))
	}
}

// lengths are sequence lengths up to most at which something changes: steps of few tokens, blocks, chunks of
// keys, small windows, RoPE factors.
func lengths(most int, effort Effort) []int {
	const b = kvcache.BlockTokens
	all := []int{1, 2, 7, 8, 9, 32, 33, 64, 65, b - 1, b, b + 1, 2*b - 1, 2 * b, 2*b + 1, most}
	if effort == Short {
		all = []int{1, 8, 9, 33, 65, b, b + 1}
	}
	return slices.Compact(slices.DeleteFunc(all, func(n int) bool { return n > most }))
}

func randomIDs(m *model.Model, n int) []int32 {
	rng := rand.New(rand.NewSource(5))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.Intn(m.Config.VocabSize))
	}
	return ids
}

// requireSameBits compares float32 values by their bits: -0 is not 0, and NaN is itself.
func requireSameBits(t testing.TB, want, got []float32, format string, args ...any) {
	t.Helper()
	require.Len(t, got, len(want), format, args)
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			require.FailNow(t, "logits differ", "%s: logit %d is %g (%08x), not %g (%08x)",
				fmt.Sprintf(format, args...), i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}
