//go:build unix

package cpu

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// If a checkpoint's file becomes shorter while the model runs, the error names the file. It does not matter
// whether the caller of a pass or a worker of the pool, Go or assembly, reads the missing page. When the file
// is whole again, the backend computes the same as before.
func TestShrunkFile(t *testing.T) { onEveryPath(t, testShrunkFile) }

func testShrunkFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../testdata/mini")))
	const shard = "model-00002-of-00002.safetensors"
	file := filepath.Join(dir, shard)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, threads := range []int{1, 4} {
		b, err := New(Options{Threads: threads})
		require.NoError(t, err)
		m, err := model.Load(context.Background(), os.DirFS(dir), b, model.Options{Context: 128})
		require.NoError(t, err)
		forward := func(ids ...int32) ([]float32, error) {
			cache := m.NewCache()
			defer cache.Reset()
			_, err := cache.Prepare(len(ids))
			require.NoError(t, err)
			out := &model.Output{}
			err = m.Forward(context.Background(), []model.Sequence{{IDs: ids, Cache: cache}}, out)
			return append([]float32(nil), out.Logits...), err
		}
		// one token and several tokens are computed by different kernels
		prompts := [][]int32{{5}, {5, 77, 300, 12, 9, 1, 44, 2}}
		var want [][]float32
		for _, ids := range prompts {
			logits, err := forward(ids...)
			require.NoError(t, err)
			want = append(want, logits)
		}
		// the rest of the last page would be read as zeros
		for at := 0; at < len(whole)-os.Getpagesize(); at += len(whole) / 7 {
			require.NoError(t, os.Truncate(file, int64(at)))
			for i, ids := range prompts {
				_, err := forward(ids...)
				require.Error(t, err, "%d of %d bytes", at, len(whole))
				require.Regexp(t, "^"+shard+
					`: tensor "[a-z0-9_.]+": byte \d+ of the file can no longer be read: `+
					`the file has become shorter`, err.Error())
				require.NoError(t, os.WriteFile(file, whole, 0o600))
				got, err := forward(ids...)
				require.NoError(t, err)
				require.Equal(t, want[i], got)
				require.NoError(t, os.Truncate(file, int64(at)))
			}
			require.NoError(t, os.WriteFile(file, whole, 0o600))
		}
		require.NoError(t, m.Close())
	}
}

// Loading reads the norms.
func TestShrunkFileWhileLoading(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../testdata/mini")))
	b, err := New(Options{Threads: 2})
	require.NoError(t, err)
	shrink := func(done, _ int64) {
		require.NoError(t, os.Truncate(filepath.Join(dir, "model-00001-of-00002.safetensors"), 0))
	}
	_, err = model.Load(context.Background(), os.DirFS(dir), b, model.Options{Context: 128, Progress: shrink})
	require.ErrorContains(t, err, "can no longer be read")
	require.ErrorContains(t, err, "model-00001-of-00002.safetensors: tensor")
}

// Any other fault is a bug, and still ends the program where it happens.
func TestOtherPanicsGoOn(t *testing.T) {
	p := newPool(1)
	require.PanicsWithValue(t, "a bug", func() { p.run(1, 1, badTask{}) })
	var err error
	require.PanicsWithValue(t, "a bug", func() {
		err = weight.Guard(nil, func() error { panic("a bug") })
	})
	require.NoError(t, err)
}

type badTask struct{}

func (badTask) work(_, _, _ int) { panic("a bug") }
