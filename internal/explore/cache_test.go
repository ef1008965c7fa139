package explore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/openai"
)

// compared are the events of POST /explore/cache.
type compared struct {
	with, without []CacheEvent
	end           CacheEnd
}

// compare runs Cache. If it is set, before is called with the number of each event, from 1.
func (e *Explorer) compare(ctx context.Context, r CacheRequest, before func(n int) error) (compared, error) {
	var c compared
	body, err := json.Marshal(r)
	if err != nil {
		return c, err
	}
	n := 0
	err = e.Cache(ctx, body, func(event any) error {
		if n++; before != nil {
			if err := before(n); err != nil {
				return err
			}
		}
		switch event := event.(type) {
		case CacheEnd:
			c.end = event
		case CacheEvent:
			if event.Cache {
				c.with = append(c.with, event)
			} else {
				c.without = append(c.without, event)
			}
		}
		return nil
	})
	return c, err
}

// idle waits until the engine has no requests. Then it has no blocks in use.
func idle(t *testing.T, e *engine.Engine) {
	t.Helper()
	for start := time.Now(); ; runtime.Gosched() {
		s := e.Stats()
		if s.Running+s.Waiting == 0 {
			require.Zero(t, s.BlocksUsed)
			return
		}
		require.Less(t, time.Since(start), time.Minute)
	}
}

// greedyRun is the text that an ordinary request generates, and the hashes of its logits.
func greedyRun(t *testing.T, e *Explorer, r CacheRequest) (tokens []engine.Token, hashes []string) {
	t.Helper()
	seen := make(hashing, r.MaxNewTokens)
	for _, sampler := range []engine.Sampler{seen, nil} { // nil is what phi3 generate does
		var all []engine.Token
		for token, err := range e.Engine.Generate(t.Context(), engine.Request{
			IDs: r.IDs, MaxNewTokens: r.MaxNewTokens, Stop: e.Config.EOS, Sampler: sampler,
		}) {
			require.NoError(t, err)
			if all = append(all, token); sampler != nil {
				hashes = append(hashes, <-seen)
			}
		}
		if tokens == nil {
			tokens = all
		}
		require.Len(t, all, len(tokens))
		for i := range all {
			require.Equal(t, tokens[i].ID, all[i].ID)
		}
	}
	return tokens, hashes
}

// Both runs say what phi3 generate says, with the same logits. One computes a position for each token, and
// the other one all of them.
func TestCache(t *testing.T) {
	for _, o := range []engine.Options{{Parallel: 2}, {Parallel: 1}, {Parallel: 1, Queue: 5}} {
		e := newExplorer(t, o)
		ids, err := e.Codec.Encode(t.Context(), e.Codec.Plain("The capital of Germany is"), e.Context)
		require.NoError(t, err)
		near := slices.Repeat(ids, e.Context/len(ids)+1)[:e.Context-2]
		for _, c := range []struct {
			r      CacheRequest
			eos    int // the token of the answer that ends texts, if it is not 0
			tokens int
			finish engine.Finish
		}{
			{CacheRequest{ids, 9}, 0, 9, engine.FinishLength},
			{CacheRequest{ids, 1}, 0, 1, engine.FinishLength},
			{CacheRequest{ids, 200}, 2, 3, engine.FinishStop},
			{CacheRequest{near, 256}, 0, 3, engine.FinishContext},
		} {
			e.Config.EOS = nil
			want, hashes := greedyRun(t, e, c.r)
			if c.eos > 0 {
				e.Config.EOS = []int32{want[c.eos].ID}
				want, hashes = greedyRun(t, e, c.r)
			}
			require.Len(t, want, c.tokens)
			got, err := e.compare(t.Context(), c.r, nil)
			require.NoError(t, err)
			require.Equal(t, CacheEnd{Done: true, Same: true}, got.end)
			requireRun(t, e, c.r, want, hashes, got.with)
			requireRun(t, e, c.r, want, hashes, got.without)
			require.Equal(t, string(c.finish), got.with[c.tokens-1].Finish)
			idle(t, e.Engine)
		}
	}
}

func requireRun(
	t *testing.T, e *Explorer, r CacheRequest, want []engine.Token, hashes []string, got []CacheEvent,
) {
	t.Helper()
	require.Len(t, got, len(want))
	for i, event := range got {
		before := len(r.IDs) + i // positions
		require.Equal(t, i, event.Index)
		require.Equal(t, e.token(want[i].ID), event.Token)
		require.Equal(t, hashes[i], event.Hash)
		require.Equal(t, string(want[i].Finish), event.Finish)
		require.Equal(t, before, event.Computed+event.Read)
		require.Positive(t, event.MS)
		switch {
		case !event.Cache:
			require.Zero(t, event.Read)
			require.Zero(t, event.Bytes)
		case i > 0:
			require.Equal(t, 1, event.Computed)
			fallthrough
		default:
			require.EqualValues(t, 3072*before, event.Bytes)
		}
	}
}

// A client that goes away ends both runs, and so does an error of one run.
func TestCacheEndsEarly(t *testing.T) {
	gone := errors.New("the client is gone")
	for _, parallel := range []int{1, 2} {
		e := newExplorer(t, engine.Options{Parallel: parallel})
		r := CacheRequest{[]int32{5, 6, 7}, 100}
		e.Config.EOS = nil
		for _, at := range []int{1, 30, 150, 201} {
			n := 0
			_, err := e.compare(t.Context(), r, func(i int) error {
				if n = i; n == at {
					return gone
				}
				return nil
			})
			require.ErrorIs(t, err, gone)
			require.Equal(t, at, n)
			idle(t, e.Engine)
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err := e.compare(ctx, r, func(n int) error {
			if n == 30 {
				cancel()
			}
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
		idle(t, e.Engine)

		n := 0
		_, err = e.compare(t.Context(), r, func(i int) error {
			if n = i; n == 30 {
				e.Engine.Close()
			}
			return nil
		})
		require.ErrorIs(t, err, engine.ErrClosed)
		require.Less(t, n, 200)
		idle(t, e.Engine)
	}
}

// If there is no place for one of the runs, the other one ends too.
func TestCacheWithoutPlace(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 2})
	e.Config.EOS = nil
	for _, err := range e.Engine.Generate(t.Context(), engine.Request{IDs: []int32{1}, MaxNewTokens: 400}) {
		require.NoError(t, err)
		_, err = e.compare(t.Context(), CacheRequest{[]int32{5, 6, 7}, 256}, nil)
		require.ErrorIs(t, err, engine.ErrBusy)
		break
	}
	idle(t, e.Engine)
	_, err := e.compare(t.Context(), CacheRequest{[]int32{5, 6, 7}, 3}, nil)
	require.NoError(t, err)
}

// Views of the cache do not take all places of the engine, and one that waits ends with its client.
func TestCacheWaiting(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 2*mostCaches + 1, Queue: 100})
	e.Config.EOS = nil
	begun, ended := make(chan bool, mostCaches+4), make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	for range cap(begun) {
		go func() {
			_, err := e.compare(ctx, CacheRequest{[]int32{5, 6, 7}, 256}, func(int) error {
				select {
				case begun <- true:
				default:
				}
				<-ctx.Done()
				return nil
			})
			ended <- err
		}()
	}
	for range mostCaches {
		<-begun
	}
	for token, err := range e.Engine.Generate(t.Context(), engine.Request{IDs: []int32{1}, MaxNewTokens: 3}) {
		require.NoError(t, err)
		require.LessOrEqual(t, e.Engine.Stats().Running, 2*mostCaches+1)
		require.Less(t, token.Queued, time.Minute)
	}
	require.Zero(t, e.Engine.Stats().Waiting)
	require.Len(t, e.caches, mostCaches)
	cancel()
	for range cap(begun) {
		require.ErrorIs(t, <-ended, context.Canceled)
	}
	require.Empty(t, e.caches)
	idle(t, e.Engine)
}

func TestCacheRefuses(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	for _, r := range []CacheRequest{{nil, 1}, {[]int32{1}, 0}, {[]int32{1}, 257}, {make([]int32, 513), 1}} {
		_, err := e.compare(t.Context(), r, func(int) error { return errors.New("an event") })
		var known *openai.Error
		require.ErrorAs(t, err, &known)
	}
	require.Zero(t, e.Engine.Stats().Steps)
}

func TestHashing(t *testing.T) {
	for _, n := range []int{1, 1023, 1024, 1025, 5000} {
		logits := make([]float32, n)
		for i := range logits {
			logits[i] = float32(i%77) / 3
		}
		var b bytes.Buffer
		require.NoError(t, binary.Write(&b, binary.LittleEndian, logits))
		h := make(hashing, 1)
		id, err := h.Sample(logits, nil)
		require.NoError(t, err)
		require.EqualValues(t, min(n-1, 76), id)
		sum := sha256.Sum256(b.Bytes())
		require.Equal(t, hex.EncodeToString(sum[:])[:16], <-h)
	}
}
