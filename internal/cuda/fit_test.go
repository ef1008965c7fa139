//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// longMini is testdata/mini for positions up to the given number.
func longMini(t *testing.T, positions int) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(mini)))
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	const old = `"max_position_embeddings": 512`
	require.Contains(t, string(text), old)
	text = []byte(strings.Replace(string(text), old, fmt.Sprintf(`"max_position_embeddings": %d`, positions),
		1))
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return dir
}

// loadContext loads a model on a GPU with free bytes of memory, for a context of length or, if that is 0,
// of what fits. It calls use with the model and closes it.
func loadContext(t *testing.T, dir string, free int64, length int, use func(*model.Model)) error {
	t.Helper()
	emulate(t, fmt.Sprint("free=", free))
	o := model.Options{Context: length, MaxTokens: 2048}
	m, err := model.Load(context.Background(), os.DirFS(dir), openTest(t, Options{}), o)
	if err != nil {
		return err
	}
	use(m)
	return m.Close()
}

func anyContext(*model.Model) {}

// needOf is the plan's memory for a context of so many tokens.
func needOf(t *testing.T, dir string, length int) int64 {
	t.Helper()
	ckpt, err := model.Open(os.DirFS(dir))
	require.NoError(t, err)
	defer func() { require.NoError(t, ckpt.Close()) }()
	p := model.NewPlan(ckpt.Config, ckpt.Tensors, model.Options{Context: length, MaxTokens: 2048})
	return PlanMemory(p, Options{}).Total()
}

// leastFree is the fewest free bytes of which need bytes are left without the margin.
func leastFree(need int64) int64 {
	room := func(free int64) int64 { return free - min(free/16, 512<<20) }
	free := need
	for room(free) < need {
		free += need - room(free)
	}
	for room(free-1) >= need {
		free--
	}
	return free
}

// Without a length, the context is the most blocks that fit without the margin. With one byte less, it is
// a block shorter.
func TestDefaultContextIsWhatFits(t *testing.T) {
	emulate(t, "")
	dir := longMini(t, 131_072)
	for _, blocks := range []int{17, 20, 101, 512} {
		length := blocks * kvcache.BlockTokens
		need := needOf(t, dir, length)
		free := leastFree(need)
		require.NoError(t, loadContext(t, dir, free, 0, func(m *model.Model) {
			require.Equal(t, length, m.Context)
			require.Equal(t, free, m.FitIn)
			s := newStepper(t, m) // the whole context can be used
			_, err := s.batch[0].Cache.Prepare(length)
			require.NoError(t, err)
			s.batch[0].Cache.Advance(length - 1) // whatever the cache holds there
			s.mustFeed(t, 1)
		}))
		require.NoError(t, loadContext(t, dir, free-1, 0, func(m *model.Model) {
			require.Less(t, m.Context, length)
			require.Zero(t, m.Context%kvcache.BlockTokens)
			require.Equal(t, free-1, m.FitIn)
		}))

		// The same check, asked for this length and for one more block.
		require.NoError(t, loadContext(t, dir, need, length, anyContext))
		require.ErrorContains(t, loadContext(t, dir, need, length+1, anyContext), "too little memory")
	}
}

// A model of few positions gets all of them or is refused. A model of many gets 2,048 if no more fit.
func TestLeastContext(t *testing.T) {
	emulate(t, "")
	for _, c := range []struct{ positions, least int }{
		{512, 512}, {2000, 2000}, {2048, 2048}, {2049, 2048}, {131_072, 2048},
	} {
		dir := longMini(t, c.positions)
		need := needOf(t, dir, c.least)
		require.NoError(t, loadContext(t, dir, need, 0, func(m *model.Model) {
			require.Equal(t, c.least, m.Context)
			require.Equal(t, c.least < c.positions, m.FitIn > 0)
		}))

		var tooLittle *TooLittleError
		require.ErrorAs(t, loadContext(t, dir, need-1, 0, anyContext), &tooLittle)
		require.Equal(t, kvcache.BlocksFor(c.least)*kvcache.BlockTokens, tooLittle.Context)
		require.Equal(t, need-1, tooLittle.Free)
		require.Equal(t, need, tooLittle.Total())

		// The context that the error names fits, and one block more does not.
		fits := tooLittle.Fits
		require.Positive(t, fits)
		require.NoError(t, loadContext(t, dir, need-1, fits, anyContext))
		require.ErrorAs(t, loadContext(t, dir, need-1, fits+kvcache.BlockTokens, anyContext), &tooLittle)
	}
}

// A model of many positions gets all of them if there is room.
func TestDefaultContextIsTheModels(t *testing.T) {
	emulate(t, "")
	dir := longMini(t, 3000)
	require.NoError(t, loadContext(t, dir, leastFree(needOf(t, dir, 3000)), 0, func(m *model.Model) {
		require.Equal(t, 3000, m.Context)
		require.Zero(t, m.FitIn)
	}))
}

func TestFreeMemory(t *testing.T) {
	emulate(t, "memory=5000000000;free=1234567890")
	free, err := FreeMemory(0)
	require.NoError(t, err)
	require.Equal(t, int64(1_234_567_890), free)
	emulate(t, "devices=0")
	_, err = FreeMemory(0)
	require.ErrorIs(t, err, ErrUnavailable)
}
