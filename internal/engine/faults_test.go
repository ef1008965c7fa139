package engine_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
)

var errFault = errors.New("the device is on fire")

// A fault of the device ends the requests of the step, and no other. The engine goes on.
func TestFaults(t *testing.T) {
	a := newAnswers(t, "mini")
	for _, logProbs := range []bool{false, true} { // the device chooses, or the host
		for _, ahead := range []bool{false, true} {
			var all []*question
			for i := range 5 {
				all = append(all, a.alone(t,
					engine.Request{IDs: ids(i, 20+i), MaxNewTokens: 9, LogProbs: logProbs}))
			}
			d := newDevice(t)
			var b model.Backend = d
			if ahead {
				b = &aheadDevice{device: d}
			}
			m := load(t, "mini", b, model.Options{Sequences: 2})
			var e *engine.Engine
			n := 0
			d.begin = func(s *model.Step) {
				if n++; n == 1 {
					arrive(e, 5)
				}
				if n == 4 {
					err := errFault
					d.fault.Store(&err)
				}
			}
			e = start(t, m, engine.Options{Parallel: 2, Queue: 5})
			failed := make([]bool, len(all))
			var wait sync.WaitGroup
			for i, q := range all {
				wait.Go(func() {
					err := take(e, q, whole, nil)
					if failed[i] = errors.Is(err, errFault); err != nil && !failed[i] {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			idle(t, e)
			failures := len(slices.DeleteFunc(failed, func(failed bool) bool { return !failed }))
			t.Log(failures)
			require.LessOrEqual(t, failures, 2)
			for _, q := range all {
				require.NoError(t, take(e, q, whole, nil))
			}
			require.False(t, e.Stats().Failing)
			err := errFault
			d.fault.Store(&err)
			require.ErrorIs(t, take(e, all[0], whole, nil), errFault)
			require.True(t, e.Stats().Failing)
			require.NoError(t, take(e, all[0], whole, nil))
			require.False(t, e.Stats().Failing)
		}
	}
}

// failing is a sampler that fails at its third token.
type failing struct{ n int }

func (f *failing) Sample([]float32, []int32) (int32, error) {
	if f.n++; f.n == 3 {
		return 0, errFault
	}
	return int32(f.n), nil
}

// The error of a sampler, and a logit that is not a number, end one request. Others of the same steps go on.
func TestOneOfManyFails(t *testing.T) {
	a := newAnswers(t, "mini")
	// Only texts with the id 330, which ends texts, are damaged.
	const bad = 330
	fine := a.alone(t, engine.Request{IDs: ids(1, 12), MaxNewTokens: 30})
	long := a.alone(t, engine.Request{IDs: ids(2, 490), MaxNewTokens: 5}) // in all four blocks
	for _, token := range slices.Concat(fine.want, long.want) {
		require.NotEqualValues(t, bad, token.ID)
	}
	notFinite := engine.Request{IDs: []int32{5, bad, 9}, MaxNewTokens: 9}
	withLogProbs := notFinite
	withLogProbs.LogProbs = true
	const damage = "after 3 tokens is NaN or infinite: the checkpoint is damaged: model"
	for _, test := range []struct {
		r      engine.Request
		tokens int
		err    string
	}{
		{engine.Request{IDs: ids(4, 9), MaxNewTokens: 9, Sampler: &failing{}}, 2, errFault.Error()},
		{notFinite, 0, damage},
		{withLogProbs, 0, damage},
	} {
		d := newDevice(t)
		d.blocks = 4
		m, err := model.Load(context.Background(), damaged(t, bad), d, model.Options{Sequences: 4})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		e := start(t, m, engine.Options{Parallel: 4})
		var once sync.Once
		d.begin = func(*model.Step) {
			once.Do(func() { arrive(e, 2) })
		}
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := take(e, fine, whole, nil); err != nil {
				t.Errorf("beside %+v: %v", test.r, err)
			}
		})
		got, err := collect(e, test.r)
		require.ErrorContains(t, err, test.err)
		require.Len(t, got, test.tokens)
		wait.Wait()
		idle(t, e)
		require.NoError(t, take(e, long, whole, nil), "with a block that has held the damaged text")
	}
}

// damaged is testdata/mini with a NaN in the embedding of an id.
func damaged(t *testing.T, id int) fs.FS {
	t.Helper()
	const dir = "../../testdata/mini"
	files := fstest.MapFS{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := false
	for _, entry := range entries {
		data, err := os.ReadFile(dir + "/" + entry.Name())
		require.NoError(t, err)
		if binary.LittleEndian.Uint32(data) < uint32(len(data)) {
			var header map[string]struct {
				Shape   []int
				Offsets []int `json:"data_offsets"`
			}
			begin := 8 + int(binary.LittleEndian.Uint64(data))
			require.NoError(t, json.Unmarshal(data[8:begin], &header))
			if table, ok := header["model.embed_tokens.weight"]; ok {
				found = true
				at := begin + table.Offsets[0] + 2*id*table.Shape[1]
				binary.LittleEndian.PutUint16(data[at:], 0x7fc0) // of BF16
			}
		}
		files[entry.Name()] = &fstest.MapFile{Data: data}
	}
	require.True(t, found)
	return files
}
