package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// counter is an [Ahead] whose tokens count up: after id comes id+1, and after the last id the first. It
// panics if it is called in a way that Ahead does not allow.
type counter struct {
	recorder
	step  *Step
	last  []int32   // the ids of the last step that StartArgmax has ended
	ahead [][]int32 // the ids of the steps that are ahead, the oldest first
	fails int       // the number of the Chosen that fails
}

func (c *counter) Begin(step *Step) {
	if len(c.ahead) > 1 || len(c.ahead) == 1 && !step.Chosen || len(c.ahead) == 0 && step.Chosen {
		panic(fmt.Sprintf("Begin with %d steps ahead, chosen: %v", len(c.ahead), step.Chosen))
	}
	c.calls = append(c.calls, fmt.Sprint("begin ", len(step.IDs)))
	c.step = step
}

func (c *counter) choose() (next []int32) {
	ids := c.step.IDs
	if c.step.Chosen {
		ids = c.last
	}
	for _, id := range ids {
		next = append(next, (id+1)%5)
	}
	return next
}

func (c *counter) Argmax(next []int32, _ Matrix) error {
	copy(next, c.choose())
	return nil
}

func (c *counter) StartArgmax(Matrix) {
	c.last = c.choose()
	c.ahead = append(c.ahead, c.last)
}

func (c *counter) Chosen(next []int32) error {
	c.calls = append(c.calls, "chosen")
	copy(next, c.ahead[0])
	c.ahead = c.ahead[1:]
	if c.fails--; c.fails == 0 {
		return errors.New("a fault")
	}
	return nil
}

// started is a batch of two sequences, with empty caches.
func (c *counter) started(t *testing.T) (*Model, []Sequence) {
	t.Helper()
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, nil), c, Options{})
	require.NoError(t, err)
	c.calls = nil
	return m, []Sequence{
		{IDs: []int32{1}, Cache: m.NewCache()}, {IDs: []int32{3}, Cache: m.NewCache()},
	}
}

// order is the calls that say in which order the host waits and begins.
func (c *counter) order() []string {
	return slices.DeleteFunc(c.calls, func(call string) bool { return call != "chosen" && call[:3] != "beg" })
}

// Each step but the first begins before the ids of the step before it are asked for. No step follows the
// last.
func TestDecode(t *testing.T) {
	c := &counter{}
	m, batch := c.started(t)
	var all [][]int32
	for next, err := range m.Decode(context.Background(), batch, 3) {
		require.NoError(t, err)
		all = append(all, slices.Clone(next))
	}
	require.Equal(t, [][]int32{{2, 4}, {3, 0}, {4, 1}}, all)
	require.Equal(t, []string{"begin 2", "begin 2", "chosen", "begin 2", "chosen", "chosen"}, c.order())
	require.Equal(t, 3, batch[0].Cache.Len())
	require.Equal(t, 3, batch[1].Cache.Len())
}

// After the end of the loop, whatever ends it, no step is ahead, and the caches hold the tokens before the
// last one that came.
func TestDecodeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	for name, test := range map[string]struct {
		fails  int
		body   func(n int, batch []Sequence) (more bool)
		tokens int
		err    string
	}{
		"break":   {0, func(n int, _ []Sequence) bool { return n < 4 }, 4, ""},
		"a fault": {3, nil, 2, "a fault"},
		"first":   {1, nil, 0, "a fault"},
		"Ctrl-C": {0, func(n int, _ []Sequence) bool {
			if n == 3 {
				cancel()
			}
			return true
		}, 3, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counter{fails: test.fails}
			m, batch := c.started(t)
			n, failed := 0, error(nil)
			for _, err := range m.Decode(ctx, batch, 9) {
				if failed = err; err != nil {
					continue
				}
				if n++; test.body != nil && !test.body(n, batch) {
					break
				}
			}
			require.Equal(t, test.tokens, n)
			if test.err != "" {
				require.EqualError(t, failed, test.err)
			}
			require.Empty(t, c.ahead)
			require.Equal(t, n, batch[0].Cache.Len())
			require.Equal(t, n, batch[1].Cache.Len())
			require.NoError(t, m.Forward(context.Background(), oneToken(t, m), &Output{Greedy: true}))
		})
		ctx, cancel = context.WithCancel(context.Background())
	}
	cancel()
}

func oneToken(t *testing.T, m *Model) []Sequence {
	c := m.NewCache()
	_, err := c.Prepare(1)
	require.NoError(t, err)
	return []Sequence{{IDs: []int32{1}, Cache: c}}
}

// The loop ends where the context is full, and where the pool has no block for the next step of a sequence.
func TestDecodeWithoutRoom(t *testing.T) {
	c := &counter{}
	m, batch := c.started(t)
	n := 0
	for _, err := range m.Decode(context.Background(), batch[:1], 1000) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, m.Context, n)
	batch[0].Cache.Reset()

	n = 0
	var failed error
	other := m.NewCache()
	_, err := other.Prepare(m.Context - 128) // of three blocks, one is left
	require.NoError(t, err)
	for _, err := range m.Decode(context.Background(), batch[:1], 1000) {
		if failed = err; err == nil {
			n++
		}
	}
	require.ErrorContains(t, failed, "KV cache is full")
	require.Equal(t, 128, n, "the last token that there is room for is not lost")
	require.Equal(t, 128, batch[0].Cache.Len())
}

// Other sequences, and other loops, may be computed between two steps.
func TestDecodeBesideOthers(t *testing.T) {
	c := &counter{}
	m, batch := c.started(t)
	var first, second []int32
	for next, err := range m.Decode(context.Background(), batch[:1], 6) {
		require.NoError(t, err)
		first = append(first, next[0])
		for next, err := range m.Decode(context.Background(), batch[1:], 2) {
			require.NoError(t, err)
			second = append(second, next[0])
			batch[1].IDs = []int32{next[0]}
			if len(second)%4 == 0 {
				break
			}
		}
		require.Equal(t, first[len(first)-1], next[0], "ids stay valid until the next step")
	}
	require.Equal(t, []int32{2, 3, 4, 0, 1, 2}, first)
	require.Equal(t, []int32{4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0}, second)
	require.Equal(t, 6, batch[0].Cache.Len())
	require.Equal(t, 12, batch[1].Cache.Len())
}

// While somebody watches the Backend, no step is ahead, and the ids are the same.
func TestDecodeWatched(t *testing.T) {
	c := &counter{}
	m, batch := c.started(t)
	type watched struct{ Backend }
	var ids []int32
	var stop func()
	for next, err := range m.Decode(context.Background(), batch[:1], 8) {
		require.NoError(t, err)
		switch ids = append(ids, next[0]); len(ids) {
		case 2:
			stop = m.Watch(func(b Backend) Backend { return watched{b} })
		case 4, 5:
			require.Empty(t, c.ahead)
		case 6:
			stop()
		}
	}
	require.Equal(t, []int32{2, 3, 4, 0, 1, 2, 3, 4}, ids)
}
