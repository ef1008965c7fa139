package hub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

// A disk that fills up in spite of the check, as when others write to it too.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer func() { _ = full.Close() }()
	x := newFixture(t)
	f := file{name: shard, size: 900_000, hash: hubtest.Hash(shard, shards()[shard])}
	p := &pull{hub: x.hub, name: name, options: x.options()}
	d := &download{
		pull: p, file: f, part: full, sum: newSum(f), commit: x.commit,
		url: x.server.URL + "/" + name + "/resolve/" + x.commit + "/" + shard,
	}
	err = p.retry(context.Background(), shard, attempts,
		func() (bool, error) { return d.receive(context.Background()) })
	require.ErrorContains(t, err, "no space left on device")
	require.Empty(t, x.notes, "it would be full the next time too")
}

func TestDiskSpace(t *testing.T) {
	x := newFixture(t)
	x.hub.freeDisk = func(dir string) (int64, bool) {
		require.Equal(t, x.hub.repo(name).dir, dir)
		return 1_400_000, true
	}
	_, err := x.pull()
	require.ErrorContains(t, err, "1.5 MB are still to be downloaded and the disk of "+x.hub.Cache+
		" has 1.4 MB free")
	require.NotContains(t, strings.Join(x.server.Requests(), "\n"), "cdn/")
	// A part that is there already counts.
	require.NoError(t, os.WriteFile(x.blob(hubtest.Hash(shard, shards()[shard]))+partEnding,
		shards()[shard][:200_000], 0o666))
	_, err = x.pull()
	require.NoError(t, err)
	x.correct(shards(), x.commit, true)
}

func TestWithoutLinks(t *testing.T) {
	x := newFixture(t)
	x.hub.symlink = func(*os.Root, string, string) error { return errors.ErrUnsupported }
	for range 2 {
		_, err := x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, false)
		require.Equal(t, len(needed)-1, x.downloads())
	}
	blobs, err := os.ReadDir(x.blob(""))
	require.NoError(t, err)
	require.Empty(t, blobs, "each file is there once")

	// With links for one revision and none for the next, the blob may be in use and is copied.
	x = newFixture(t)
	_, err = x.pull()
	require.NoError(t, err)
	x.hub.symlink = func(*os.Root, string, string) error { return errors.ErrUnsupported }
	files := shards()
	files["config.json"] = []byte("{}")
	newer := x.server.Add(name, files)
	_, err = x.pull()
	require.NoError(t, err)
	x.correct(files, newer, false)
	s, err := x.hub.Find(name, x.commit)
	require.NoError(t, err)
	require.True(t, s.Complete())
}

// huggingface_hub 2 may keep a blob once for several models: such a blob is read through its links, and goes
// when the last model goes.
func TestSharedBlobs(t *testing.T) {
	x := newFixture(t)
	_, err := x.pull()
	require.NoError(t, err)
	cache, other := x.hub.Cache, "acme/Other"
	blob := x.blob(hubtest.Hash(shard, shards()[shard]))
	xet := strings.Repeat("ab", 32)
	shared := filepath.Join(cache, "blobs", "ab", xet)
	require.NoError(t, os.MkdirAll(filepath.Dir(shared), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(cache, "blobs", ".huggingface-shared-blobs"), []byte("1\n"),
		0o666))
	require.NoError(t, os.Rename(blob, shared))
	target, err := filepath.Rel(filepath.Dir(blob), shared)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(target, blob))
	elsewhere := filepath.Join(cache, "models--acme--Other", "blobs", filepath.Base(blob))
	require.NoError(t, os.MkdirAll(filepath.Dir(elsewhere), 0o777))
	require.NoError(t, os.Symlink(target, elsewhere))
	refs := "models--acme--Tiny-Phi-3/blobs/" + filepath.Base(blob) + "\nmodels--acme--Other/blobs/" +
		filepath.Base(blob) + "\n../../x\n"
	require.NoError(t, os.WriteFile(shared+".refs", []byte(refs), 0o666))

	before := x.downloads()
	s, err := x.pull()
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.Equal(t, before, x.downloads())
	x.correct(shards(), x.commit, true)
	size, err := x.hub.Size(name)
	require.NoError(t, err)
	require.Greater(t, size, int64(1_500_000))
	models, err := x.hub.Models()
	require.NoError(t, err)
	require.Len(t, models, 2)

	require.NoError(t, x.hub.Remove(name))
	require.FileExists(t, shared, "another model has it")
	root, err := os.OpenRoot(cache)
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	unlock, err := tryLock(root, "blobs/ab/"+xet+".lock")
	require.NoError(t, err)
	unlock()
	require.NoError(t, x.hub.Remove(other))
	require.NoFileExists(t, shared)
	require.NoFileExists(t, shared+".refs")

	// Without a list nobody knows who has it.
	require.NoError(t, os.WriteFile(shared, nil, 0o666))
	require.NoError(t, os.MkdirAll(filepath.Dir(elsewhere), 0o777))
	require.NoError(t, os.Symlink(target, elsewhere))
	require.NoError(t, x.hub.Remove(other))
	require.FileExists(t, shared)

	// What looks like a link to a shared blob and is none is not followed.
	require.NoError(t, os.MkdirAll(filepath.Dir(elsewhere), 0o777))
	precious := filepath.Join(t.TempDir(), "ab", xet)
	require.NoError(t, os.MkdirAll(filepath.Dir(precious), 0o777))
	require.NoError(t, os.WriteFile(precious, nil, 0o666))
	require.NoError(t, os.WriteFile(precious+".refs", nil, 0o666))
	require.NoError(t, os.Symlink(precious, elsewhere))
	require.NoError(t, x.hub.Remove(other))
	require.FileExists(t, precious)
}
