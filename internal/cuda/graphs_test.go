//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/model"
)

// TestGraphs: one graph serves all tokens, wherever they are in the sequence, and computes the same as
// its launches.
func TestGraphs(t *testing.T) {
	m, b := loadTest(t)
	plain, without := loadTest(t)
	s, p := newStepper(t, m), newStepper(t, plain)
	step := func(n int) {
		without.graphs = graphs{} // forget every queue
		require.Equal(t, bytesOf(p.mustFeed(t, n)), bytesOf(s.mustFeed(t, n)), "%d tokens", n)
	}
	kinds := func() (seen, captured int) {
		for _, q := range b.graphs.seen {
			if q.captured {
				captured++
			}
		}
		return len(b.graphs.seen), captured
	}
	step(20)
	for range 4 {
		step(1)
	}
	seen, captured := kinds()
	require.Equal(t, []int{2, 1}, []int{seen, captured}, "after a prompt and some tokens")
	s.batch[0].Cache.Truncate(120)
	for s.batch[0].Cache.Len() < 126 {
		step(20)
	}
	for range 4 { // across the end of a KV block
		step(1)
	}
	seen, captured = kinds()
	require.Equal(t, []int{2, 2}, []int{seen, captured},
		"a prompt's second part repeats the first's launches")
	for _, n := range []int{2, 1, 3, 2, 3, 1, 2} {
		step(n)
	}
	seen, captured = kinds()
	require.Equal(t, []int{4, 4}, []int{seen, captured})
}

// TestDecodeGridsAreOneWave: on every GPU, all blocks of a launch of decode, and of a batch product, run at
// once. Some launches fill the GPU.
func TestDecodeGridsAreOneWave(t *testing.T) {
	for _, settings := range []string{
		"sms=4", // an H100's multiprocessor
		"sms=4;compute=8.0;shared=166912",
		"sms=4;compute=8.9;shared=101376",
		"sms=1;compute=12.0;shared=101376",
	} {
		t.Run(settings, func(t *testing.T) {
			emulate(t, settings)
			m, b := loadTest(t)
			s := newStepper(t, m)
			for range 6 {
				s.mustFeed(t, 40)
			}
			full := 0
			batched := 0
			for _, tokens := range []int{1, decodeTokens, 16, 32, 40} {
				var launches queue
				b.run = func() error { launches = slices.Clone(b.queue); return b.sendAndCopy(b.dst, b.src) }
				s.mustFeed(t, tokens)
				require.NotEmpty(t, launches)
				for _, l := range launches {
					if l.shared == 0 {
						continue // the small kernels: a block a token
					}
					isBatch := slices.ContainsFunc(b.kernels.products[:],
						func(p [phases][weightKinds]function) bool {
							return slices.Contains(p[batch][:], l.function)
						})
					if isBatch {
						batched++
					} else if tokens > decodeTokens {
						continue // attention
					}
					resident := 0
					require.NoError(t, b.do(func() (err error) {
						resident, err = b.device.residentBlocks(l.function, int(l.block), int(l.shared))
						return err
					}))
					fits := resident * b.device.multiprocessors
					require.LessOrEqual(t, int(l.grid[0]*l.grid[1]), fits, "%d tokens: blocks of %d bytes",
						tokens, l.shared)
					if int(l.grid[0]) == fits {
						full++
					}
				}
			}
			require.Positive(t, full, "launches that fill the device")
			require.Positive(t, batched, "batch products")
		})
	}
}

// TestAttentionDecodeResidency: on a multiprocessor of 228 KB, as many blocks of attention's decode fit
// as its launch bounds say. On one of 100 KB every kernel can be launched.
func TestAttentionDecodeResidency(t *testing.T) {
	for settings, want := range map[string]map[int]int{
		"":                                {64: 5, 80: 4, 96: 4, 128: 3, 256: 2},
		"compute=8.6;shared=101376;sms=1": {64: 2, 80: 2, 96: 1, 128: 1, 256: 1},
	} {
		emulate(t, settings)
		d := open(t)
		require.NoError(t, d.do(func() error {
			m, _, err := d.loadCode(nil)
			if err != nil {
				return err
			}
			for _, headDim := range headDims {
				k, err := d.loadAttentionKernels(m, shape(2, 1, headDim, headDim/2, 0), typeBF16)
				if err != nil {
					return err
				}
				if k.decodeResident != want[headDim] {
					t.Errorf("%s: head dimension %d: %d blocks, not %d", settings, headDim, k.decodeResident,
						want[headDim])
				}
			}
			return nil
		}))
	}
}

// TestOneGraphAtAnyLength: a token's launches are the same in a long and in a short sequence.
func TestOneGraphAtAnyLength(t *testing.T) {
	b := openTest(t, Options{})
	m, err := model.Load(context.Background(), os.DirFS(mini), b, model.Options{Context: 2000, MaxTokens: 40})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	s := newStepper(t, m)
	for _, length := range []int{1, 127, 128, 129, 640, 1999} {
		cache := s.batch[0].Cache
		_, err := cache.Prepare(length)
		require.NoError(t, err)
		cache.Advance(length - cache.Len()) // whatever the cache holds there
		s.mustFeed(t, 1)
		require.Len(t, b.graphs.seen, 1, "length %d", length)
		cache.Truncate(length)
	}
	require.True(t, b.graphs.seen[0].captured)
}

// TestForgottenGraphs: with more queues than are remembered, the oldest are forgotten and their graphs freed.
// Queues that come once do not make a graph be forgotten.
func TestForgottenGraphs(t *testing.T) {
	d := open(t)
	on(t, d, func(t inside, s cu.Stream) {
		l := loadCopyRows(t, d).launch()
		owned := len(d.owned)
		g := graphs{most: 40}
		count := func(captured bool) (n int) {
			for _, q := range g.seen {
				if q.captured == captured {
					n++
				}
			}
			return n
		}
		captured := func(n int) bool { // of the queue of n launches, if it is remembered
			return slices.ContainsFunc(g.seen, func(q *seenQueue) bool {
				return len(q.launches) == n && q.captured
			})
		}
		run := func(n int) { require.NoError(t, g.run(d, s, slices.Repeat(queue{l}, n))) }
		for n := 1; n <= 3*g.most; n++ {
			run(n)
			if n%2 == 0 {
				run(n)
				require.True(t, captured(n))
			}
			run(1) // used all the time, so it is not forgotten
			require.LessOrEqual(t, count(false), mostOnce)
			require.LessOrEqual(t, count(true), g.most)
			require.Len(t, d.owned[owned:], count(true), "graphs that are alive")
		}
		require.True(t, captured(1))
		require.Equal(t, g.most, count(true))
		oldest := g.most + 4 // of the even ones, of which all but g.most-1 are forgotten
		require.True(t, captured(oldest))
		require.False(t, captured(oldest-2))
		for n := 200; n < 300; n++ {
			run(n)
		}
		require.True(t, captured(oldest), "after many queues that came once")
		run(300 - mostOnce)
		require.False(t, captured(oldest), "one more is captured")
		require.NoError(t, g.run(d, s, nil))
	})
}
