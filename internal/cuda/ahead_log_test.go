//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
)

// steps is how many steps of a model begin in a log.
func steps(log []string) (n int) {
	for _, line := range log {
		if strings.HasPrefix(line, "launch embed") {
			n++
		}
	}
	return n
}

func newAhead(t *testing.T) *writer {
	return newWriter(t, mini, 600, Options{}, func(b model.Backend) model.Backend { return b })
}

// TestNoRoundTrip: between two greedy tokens, the device gets one graph. It copies the step's data to the
// device and the ids to the host, and the host waits for nothing but this last copy. When the host gets the
// ids of a token, the graph of the next token is on the stream already.
func TestNoRoundTrip(t *testing.T) {
	for _, cached := range [][]int{{20}, {20, 3, 126}} {
		log := emulatorLog(t)
		w := newAhead(t)
		token := 0
		for _, err := range w.m.Decode(t.Context(), w.batch(cached...), 9) {
			require.NoError(t, err)
			lines := slices.DeleteFunc(log(), func(line string) bool {
				return strings.HasPrefix(line, "prefetch ")
			})
			switch token++; {
			case token <= 4 || token == 9: // the graphs are made; no step follows the last token
			default:
				n := len(w.b.ahead.turns[0].queue)
				require.Equal(t, []string{
					"record", "wait-event", fmt.Sprint("graph ", n), "record", // the next token
					"wait-event", "sync-stream", // this token
				}, lines[:6])
				require.Regexp(t, `^to-device \d+$`, lines[6]) // for the next token
				launches := lines[7 : len(lines)-1]            // of this token
				require.Len(t, launches, n)
				require.Equal(t, "launch embed", launches[0])
				require.Contains(t, launches[n-1], "launch argmax")
				require.NotContains(t, strings.Join(launches, "\n"), "to-")
				require.Equal(t, fmt.Sprint("to-host ", 4*len(cached)), lines[len(lines)-1])
			}
		}
		require.Equal(t, 9, token)
	}
}

// TestAheadEnds: after the last token, and after the token that the user stops at, the device computes at
// most one step more.
func TestAheadEnds(t *testing.T) {
	log := emulatorLog(t)
	w := newAhead(t)
	prompt := w.prompt(20)
	free, err := engine.Run(t.Context(), w.m, engine.Request{IDs: prompt, MaxNewTokens: 8})
	require.NoError(t, err)
	require.Equal(t, 8, steps(log()), "none more, where the length is known")

	at := 3
	for slices.Contains(free.IDs[:at], free.IDs[at]) {
		at++
	}
	r, err := engine.Run(t.Context(), w.m,
		engine.Request{IDs: prompt, MaxNewTokens: 50, Stop: []int32{free.IDs[at]}})
	require.NoError(t, err)
	require.Equal(t, free.IDs[:at+1], r.IDs)
	require.Equal(t, at+2, steps(log()), "one more after a stop id")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newSequence(w.m, prompt...)
	defer s.close()
	for _, err := range s.write(ctx, 50) {
		if len(s.ids) == 20+3 && err == nil {
			cancel()
		} else if len(s.ids) > 20+3 {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	require.Len(t, s.ids, 20+3)
	require.Equal(t, 3+1, steps(log()), "one more after Ctrl-C")
}

// TestAheadFaults: a fault in a step that is ahead belongs to the token that the step would have chosen.
func TestAheadFaults(t *testing.T) {
	for _, drop := range []bool{false, true} {
		emulate(t, "")
		m, err := loadOn(openTest(t, Options{}), mini)
		require.NoError(t, err)
		s := newSequence(m, 1, 2, 3)
		var failed error
		n := 0
		for _, err := range s.write(t.Context(), 50) {
			if failed = err; err != nil {
				break
			}
			if n++; n == 5 {
				emulate(t, "fault=attention_decode_96")
				if drop {
					break
				}
			}
		}
		require.Equal(t, 5, n)
		if drop {
			require.NoError(t, failed, "nobody wanted that token")
		} else {
			require.ErrorContains(t, failed, "attention_decode_96")
		}
		_, failed = s.next(t.Context())
		require.ErrorContains(t, failed, "attention_decode_96", "the context stays broken")
		require.NoError(t, m.Close(), "it was reported")
	}
}

// TestAheadStage: a step whose data do not fit on the stage fails, and not the token before it.
func TestAheadStage(t *testing.T) {
	w := newAhead(t)
	n := 0
	var failed error
	for _, err := range w.m.Decode(t.Context(), w.batch(20), 50) {
		if failed = err; err != nil {
			continue
		}
		if n++; n == 5 {
			w.b.ahead.turns[0].stage.host.bytes = w.b.ahead.turns[0].stage.host.bytes[:100]
			w.b.ahead.turns[1].stage.host.bytes = w.b.ahead.turns[1].stage.host.bytes[:100]
		}
	}
	require.Equal(t, 6, n, "step 6 was on its way")
	require.ErrorContains(t, failed, "do not fit their 100 bytes on the device")
}

// refusing is an [model.Ahead] whose driver refuses the last launch of the next step.
type refusing struct {
	*Backend
	next *bool
}

func (r refusing) StartArgmax(logits model.Matrix) {
	r.Backend.StartArgmax(logits)
	if *r.next {
		*r.next = false
		r.queue[len(r.queue)-1].block = 1 << 20
	}
}

// TestAheadRefused: if the driver refuses a launch, the next step, which would begin with ids that nobody has
// chosen, is not sent. The text goes on as if nothing had happened, and no graph is made of a queue that
// never ran.
func TestAheadRefused(t *testing.T) {
	log := emulatorLog(t)
	refuse := false
	w := newWriter(t, mini, 300, Options{}, func(b model.Backend) model.Backend {
		return refusing{b.(spy).Backend, &refuse}
	})
	want, err := engine.Run(t.Context(), w.m, engine.Request{IDs: w.prompt(20), MaxNewTokens: 6})
	require.NoError(t, err)
	w.b.graphs = graphs{}
	log()

	s := newSequence(w.m, w.prompt(20)...)
	defer s.close()
	var failed error
	for token, err := range s.write(t.Context(), 6) {
		if failed = err; err == nil {
			refuse = token.id == want.IDs[0]
		}
	}
	require.ErrorContains(t, failed, "cuLaunchKernel")
	require.Equal(t, want.IDs[:1], s.ids[20:])
	require.Equal(t, 1+1, steps(log()), "the prompt, and the launches before the one that was refused")
	require.Len(t, w.b.graphs.seen, 1)
	for _, err := range s.write(t.Context(), 5) {
		require.NoError(t, err)
	}
	require.Equal(t, want.IDs, s.ids[20:])
}
