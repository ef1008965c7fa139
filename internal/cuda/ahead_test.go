//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// waiting is a Backend without [model.Ahead], so that the host waits for every token.
type waiting struct{ model.Backend }

// spy remembers where the table of embeddings is.
type spy struct {
	*Backend
	table *devicePtr
}

func (s spy) Upload(t *weight.Tensor) (model.Weight, error) {
	w, err := s.Backend.Upload(t)
	if err == nil && t.Name == "model.embed_tokens.weight" {
		*s.table = w.Data.(*parameter).ptr
	}
	return w, err
}

// writer writes a text on one of two models, of which the second is a step ahead.
type writer struct {
	*testing.T
	m     *model.Model
	b     *Backend
	table devicePtr
	s     *sequence
	lines []string // what came
}

func newWriter(
	t *testing.T, dir string, room int, o Options, wrap func(model.Backend) model.Backend,
) *writer {
	w := &writer{T: t, b: openTest(t, o)}
	var err error
	w.m, err = model.Load(context.Background(), os.DirFS(dir), wrap(spy{w.b, &w.table}),
		model.Options{Context: room, MaxTokens: 40})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.m.Close()) })
	return w
}

func writers(t *testing.T, dir string, room int, o Options) (w [2]*writer) {
	w[0] = newWriter(t, dir, room, o, func(b model.Backend) model.Backend { return waiting{b} })
	w[1] = newWriter(t, dir, room, o, func(b model.Backend) model.Backend { return b })
	return w
}

// bothWrite calls f with both writers, whose text is a prompt of so many tokens. What comes must be the same,
// and the text too. It returns whether the bytes of the KV cache are the same.
func bothWrite(t *testing.T, ws [2]*writer, prompt int, f func(w *writer)) (sameCache bool) {
	t.Helper()
	var kv [2][]byte
	for i, w := range ws {
		w.lines, w.s = nil, newSequence(w.m, w.prompt(prompt)...)
		f(w)
		w.lines = append(w.lines, fmt.Sprint(w.s.ids))
		w.s.close()
		kv[i] = make([]byte, w.b.kvBlocks*w.b.kvBlockElems*w.b.inputType().bytes())
		require.NoError(t, w.b.read(kv[i], w.b.kv))
		b := w.b
		require.NoError(t, b.do(func() error { return b.device.fill(b.kv, 0xff, len(kv[i]), b.stream) }))
	}
	require.Equal(t, ws[0].lines, ws[1].lines)
	return bytes.Equal(kv[0], kv[1])
}

func (w *writer) prompt(n int) (ids []int32) {
	for p := range n {
		ids = append(ids, int32(p*7%w.m.Config.VocabSize))
	}
	return ids
}

// write continues the text with up to n tokens, and ends after the token for which enough returns true.
func (w *writer) write(ctx context.Context, n int, enough func(i int) bool) {
	i := 0
	for token, err := range w.s.write(ctx, n) {
		if err != nil {
			w.lines = append(w.lines, err.Error())
			return
		}
		w.lines = append(w.lines, fmt.Sprintf("%+v", token))
		if i++; enough != nil && enough(i) {
			return
		}
	}
}

func upTo(n int) func(w *writer) {
	return func(w *writer) { w.write(w.Context(), n, nil) }
}

// TestAhead: the tokens, the lengths of the caches and their bytes do not depend on whether the host waits
// for every token.
func TestAhead(t *testing.T) {
	t.Run("ends", func(t *testing.T) {
		ws := writers(t, mini, 140, Options{})
		require.True(t, bothWrite(t, ws, 20, upTo(12)))
		// To the next KV block, and to the end of the context.
		require.True(t, bothWrite(t, ws, 125, upTo(100)))
		require.True(t, bothWrite(t, ws, 140, upTo(3)))
		require.True(t, bothWrite(t, ws, 141, upTo(3)))
		require.Contains(t, ws[1].lines[0], "holds 140")
		require.True(t, bothWrite(t, ws, 20, func(w *writer) {
			w.write(w.Context(), 9, func(i int) bool { return i == 4 }) // drops a step
			ctx, cancel := context.WithCancel(w.Context())
			defer cancel()
			w.write(ctx, 9, func(i int) bool {
				if i == 3 {
					cancel() // as Ctrl-C does
				}
				return false
			})
			require.Len(t, w.lines, 4+3+1)
			require.Equal(t, context.Canceled.Error(), w.lines[7])
			w.write(w.Context(), 5, nil)
		}))
	})
	t.Run("long RoPE", func(t *testing.T) {
		ws := writers(t, "../../testdata/longrope", 300, Options{})
		require.True(t, bothWrite(t, ws, 26, upTo(12))) // the short factors end at 32 tokens
	})
	t.Run("few", func(t *testing.T) {
		require.True(t, bothWrite(t, writers(t, "../../testdata/partial", 128, Options{}), 3, upTo(6)))
	})
	t.Run("float32", func(t *testing.T) {
		ws := writers(t, "../../testdata/partial", 300, Options{Float32: true})
		require.True(t, bothWrite(t, ws, 20, upTo(5)))
	})
}

// TestAheadBesideOthers: while a text is written, the model may compute others, and the text may change.
func TestAheadBesideOthers(t *testing.T) {
	ws := writers(t, mini, 300, Options{})
	require.True(t, bothWrite(t, ws, 20, func(w *writer) {
		other := newSequence(w.m, 5, 6, 7)
		defer other.close()
		w.write(w.Context(), 12, func(i int) bool {
			switch i {
			case 2: // a whole text, a step ahead
				whole := newSequence(w.m, 9, 8)
				for _, err := range whole.write(w.Context(), 5) {
					require.NoError(w, err)
				}
				w.lines = append(w.lines, fmt.Sprint(whole.ids))
				whole.close()
			case 4, 5: // one token of another text
				id, err := other.next(w.Context())
				require.NoError(w, err)
				other.add(id)
				w.lines = append(w.lines, fmt.Sprint(id))
			case 6: // the last token again
				id, err := w.s.next(w.Context())
				require.NoError(w, err)
				w.lines = append(w.lines, fmt.Sprint(id))
			case 7: // another last token
				w.s.cut(len(w.s.ids) - 1)
				w.s.add(3)
			case 8: // a shorter text
				w.s.cut(20)
			case 9: // a text of the same length, computed and not
				w.s.cut(15)
				w.s.add(1, 2, 3, 4, 5)
				_, err := w.s.next(w.Context())
				require.NoError(w, err)
				w.s.add(6)
			}
			return false
		})
	}))
}

// TestAheadNotFinite: a logit that is NaN, in the middle of a text.
func TestAheadNotFinite(t *testing.T) {
	ws := writers(t, mini, 300, Options{})
	var ids []int32
	r, err := engine.Run(t.Context(), ws[0].m, engine.Request{IDs: ws[0].prompt(20), MaxNewTokens: 8})
	require.NoError(t, err)
	at := 3
	for slices.Contains(r.IDs[:at], r.IDs[at]) {
		at++
	}
	ids = r.IDs[:at+1]
	for _, w := range ws {
		row := int(ids[at]) * w.b.config.HiddenSize * 2
		require.NoError(t, w.b.do(func() error {
			return w.b.device.copyToDevice(w.table+devicePtr(row), []byte{0xc0, 0x7f}, w.b.stream)
		}))
	}
	bothWrite(t, ws, 20, upTo(10)) // the dropped step leaves its keys and values
	require.Len(t, ws[1].lines, len(ids)+2)
	require.Contains(t, ws[1].lines[len(ids)], "is NaN or infinite")
}

// TestAheadBatch: batches of sequences through [model.Model.Decode]. The larger one has more rows of logits
// than fit in a matrix.
func TestAheadBatch(t *testing.T) {
	const tokens = 7
	ws := writers(t, mini, 17*kvcache.BlockTokens, Options{})
	for _, lengths := range [][]int{{20, 3, 126}, slices.Repeat([]int{3}, 17)} {
		var all [2][][]int32
		for i, w := range ws {
			batch := w.batch(lengths...)
			for next, err := range w.m.Decode(w.Context(), batch, tokens) {
				require.NoError(t, err)
				all[i] = append(all[i], slices.Clone(next))
			}
			for j, length := range lengths {
				require.Equal(t, length+tokens, batch[j].Cache.Len())
				batch[j].Cache.Reset()
			}
		}
		require.Len(t, all[0], tokens)
		require.Equal(t, all[0], all[1])
	}
}

// batch makes sequences of one token after so many in the cache.
func (w *writer) batch(cached ...int) (batch []model.Sequence) {
	for i, n := range cached {
		c := w.m.NewCache()
		_, err := w.m.Feed(w.Context(), model.Input{IDs: w.prompt(n), Cache: c}, nil)
		require.NoError(w, err)
		batch = append(batch, model.Sequence{IDs: []int32{int32(i + 1)}, Cache: c})
	}
	return batch
}

// stale is a Backend whose steps begin with the ids of the step before the last one.
type stale struct{ *Backend }

func (s stale) Begin(step *model.Step) {
	s.Backend.Begin(step)
	if step.Chosen {
		own := s.turn
		s.staged.ids = own.ids
	}
}

// TestStaleIDs: the tests of this file notice such a mistake.
func TestStaleIDs(t *testing.T) {
	w := newWriter(t, mini, 300, Options{}, func(b model.Backend) model.Backend { return b })
	ids := func(b model.Backend) (ids []int32) {
		stop := w.m.Watch(func(model.Backend) model.Backend { return b })
		defer stop()
		r, err := engine.Run(t.Context(), w.m, engine.Request{IDs: w.prompt(20), MaxNewTokens: 6})
		require.NoError(t, err)
		return r.IDs
	}
	right, wrong := ids(w.b), ids(stale{w.b})
	require.Equal(t, right[:2], wrong[:2], "the host knows the id that the first step begins with")
	require.NotEqual(t, right, wrong)
}

// TestAheadDoesNotAllocate: a token makes no garbage.
func TestAheadDoesNotAllocate(t *testing.T) {
	w := newWriter(t, mini, 300, Options{}, func(b model.Backend) model.Backend { return b })
	next, stop := iter.Pull2(w.m.Decode(t.Context(), w.batch(20), 100))
	defer stop()
	token := func() {
		_, err, _ := next()
		require.NoError(t, err)
	}
	for range 6 { // launched, captured, replayed: two kinds of steps
		token()
	}
	require.Zero(t, testing.AllocsPerRun(20, token))
}
