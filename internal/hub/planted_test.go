//go:build unix

package hub

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

// outside is a folder with files of a person's own, which may be neither read, written nor deleted by what a
// cache has planted in it.
type outside struct {
	*testing.T
	dir string
}

const leadsOut = "leads out of its directory through a link"

const precious = "precious, and nobody's business"

func newOutside(t *testing.T) outside {
	o := outside{t, t.TempDir()}
	for _, name := range []string{"main", "file", "sub/" + strings.Repeat("ab", 32), "sub/config.json"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(o.dir, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(o.dir, name), []byte(precious), 0o666))
	}
	return o
}

func (o outside) untouched() {
	o.Helper()
	var names []string
	require.NoError(o, filepath.WalkDir(o.dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(o, err)
		if !e.IsDir() {
			text, err := os.ReadFile(path)
			require.NoError(o, err)
			require.Equal(o, precious, string(text), path)
		}
		name, err := filepath.Rel(o.dir, path)
		names = append(names, name)
		return err
	}))
	require.Equal(o, []string{
		".", "file", "main", "sub", "sub/" + strings.Repeat("ab", 32),
		"sub/config.json",
	}, names)
}

func plant(t *testing.T, target string, path ...string) {
	t.Helper()
	link := filepath.Join(path...)
	require.NoError(t, os.RemoveAll(link))
	require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o777))
	require.NoError(t, os.Symlink(target, link))
}

// A cache from a stranger, or one that strangers can write, has links planted where files are written. What
// they lead to stays as it is.
func TestPlantedLinks(t *testing.T) {
	hash := hubtest.Hash(shard, shards()[shard])
	small := hubtest.Hash("config.json", shards()["config.json"])
	commit := hubtestCommit()
	for place, want := range map[string]string{ // "": the link is replaced, and the pull is right
		"models--acme--Tiny-Phi-3":                                      "does not download through links",
		"models--acme--Tiny-Phi-3/blobs":                                leadsOut,
		"models--acme--Tiny-Phi-3/snapshots":                            leadsOut,
		"models--acme--Tiny-Phi-3/snapshots/" + commit:                  leadsOut,
		"models--acme--Tiny-Phi-3/refs":                                 leadsOut,
		"models--acme--Tiny-Phi-3/.no_exist":                            leadsOut,
		".locks":                                                        leadsOut,
		".locks/models--acme--Tiny-Phi-3":                               leadsOut,
		".locks/models--acme--Tiny-Phi-3/" + hash + ".lock":             "is not a regular file but a link",
		"models--acme--Tiny-Phi-3/refs/main":                            "",
		"models--acme--Tiny-Phi-3/blobs/" + hash:                        "",
		"models--acme--Tiny-Phi-3/blobs/" + hash + partEnding:           "",
		"models--acme--Tiny-Phi-3/blobs/" + small + partEnding:          "",
		"models--acme--Tiny-Phi-3/snapshots/" + commit + "/config.json": "",
		"models--acme--Tiny-Phi-3/snapshots/" + commit + "/" + shard:    "",
		"models--acme--Tiny-Phi-3/.no_exist/" + commit + "/merges.txt":  "",
	} {
		t.Run(place, func(t *testing.T) {
			x, o := newFixture(t), newOutside(t)
			target := o.dir
			if want == "" || strings.HasSuffix(place, ".lock") { // a file
				target = filepath.Join(o.dir, "main")
			}
			plant(t, target, x.hub.Cache, place)
			_, err := x.pull()
			o.untouched()
			if want == "" {
				require.NoError(t, err)
				x.correct(shards(), x.commit, true)
			} else {
				require.ErrorContains(t, err, want)
			}
			_, _ = x.hub.Find(name, "main")
			_, err = x.hub.Models()
			require.NoError(t, err)
			_, _ = x.hub.Size(name)
			if err := x.hub.Remove(name); !errors.Is(err, ErrNotCached) {
				require.NoError(t, err, "only the cache's own is removed, and that can be")
			}
			require.NoDirExists(t, filepath.Join(x.hub.Cache, "models--acme--Tiny-Phi-3"))
			o.untouched()
		})
	}
}

// hubtestCommit is the commit of every fixture.
func hubtestCommit() string {
	server := hubtest.New()
	defer server.Close()
	return server.Add(name, shards())
}

// A hard link is another name of a file: a download that went on in it would write over that file.
func TestPlantedHardLink(t *testing.T) {
	x, o := newFixture(t), newOutside(t)
	part := x.blob(hubtest.Hash(shard, shards()[shard])) + partEnding
	require.NoError(t, os.MkdirAll(filepath.Dir(part), 0o777))
	if err := os.Link(filepath.Join(o.dir, "file"), part); err != nil {
		t.Skip(err)
	}
	_, err := x.pull()
	require.NoError(t, err)
	x.correct(shards(), x.commit, true)
	o.untouched()
}

// The folder of shared blobs may be planted too.
func TestPlantedSharedBlobs(t *testing.T) {
	xet := strings.Repeat("ab", 32)
	for title, link := range map[string]string{
		"the folder of all": "blobs", "a folder of some": "blobs/ab",
		"a blob": "blobs/ab/" + xet,
	} {
		t.Run(title, func(t *testing.T) {
			x, o := newFixture(t), newOutside(t)
			_, err := x.pull()
			require.NoError(t, err)
			blob := x.blob(hubtest.Hash(shard, shards()[shard]))
			require.NoError(t, os.Remove(blob))
			require.NoError(t, os.Symlink("../../blobs/ab/"+xet, blob))
			refs := "models--acme--Tiny-Phi-3/blobs/" + filepath.Base(blob) + "\n"
			at := filepath.Join(x.hub.Cache, "blobs")
			require.NoError(t, os.MkdirAll(filepath.Join(at, "ab"), 0o777))
			require.NoError(t, os.WriteFile(filepath.Join(at, ".huggingface-shared-blobs"), []byte("1\n"),
				0o666))
			require.NoError(t, os.WriteFile(filepath.Join(at, "ab", xet+".refs"), []byte(refs), 0o666))
			target := map[string]string{
				"blobs": o.dir, "blobs/ab": filepath.Join(o.dir, "sub"),
				"blobs/ab/" + xet: filepath.Join(o.dir, "sub", xet),
			}[link]
			plant(t, target, x.hub.Cache, link)
			s, err := x.hub.Find(name, "main")
			require.NoError(t, err)
			require.Equal(t, []string{shard}, s.Missing, "what leads out is not there")
			require.NoError(t, x.hub.Remove(name))
			o.untouched()
		})
	}
}

// Nothing that waits is opened: a named pipe in the place of any file is refused or replaced.
func TestPlantedPipes(t *testing.T) {
	hash := hubtest.Hash(shard, shards()[shard])
	for place, want := range map[string]string{
		"models--acme--Tiny-Phi-3/refs/main":                                        "",
		"models--acme--Tiny-Phi-3/blobs/" + hash:                                    "",
		"models--acme--Tiny-Phi-3/blobs/" + hash + partEnding:                       "",
		"models--acme--Tiny-Phi-3/snapshots/" + hubtestCommit() + "/tokenizer.json": "",
		"models--acme--Tiny-Phi-3/snapshots/" + hubtestCommit() + "/" + indexName:   "",
		".locks/models--acme--Tiny-Phi-3/" + hash +
			".lock": "is not a regular file but a named pipe",
		"models--acme--Tiny-Phi-3/blobs":  "blobs",
		".locks/models--acme--Tiny-Phi-3": "models--acme--Tiny-Phi-3",
		".locks":                          ".locks",
		"models--acme--Tiny-Phi-3":        "is not a directory",
		"blobs/.huggingface-shared-blobs": "",
		"models--acme--Tiny-Phi-3/.no_exist/" + hubtestCommit() + "/added_tokens.json": "",
	} {
		t.Run(place, func(t *testing.T) {
			x := newFixture(t)
			pipe := filepath.Join(x.hub.Cache, place)
			require.NoError(t, os.MkdirAll(filepath.Dir(pipe), 0o777))
			require.NoError(t, exec.Command("mkfifo", pipe).Run())
			_, _ = x.hub.Find(name, "main")
			_, _ = x.hub.Find(name, x.commit)
			_, err := x.hub.Models()
			require.NoError(t, err)
			if _, err = x.pull(); want == "" {
				require.NoError(t, err)
				x.correct(shards(), x.commit, true)
			} else {
				require.ErrorContains(t, err, want)
			}
			if err := x.hub.Remove(name); !errors.Is(err, ErrNotCached) {
				require.NoError(t, err)
			}
			require.NoDirExists(t, filepath.Join(x.hub.Cache, "models--acme--Tiny-Phi-3"))
		})
	}
}

// A token is a short file. Reading it must neither wait nor end in all memory, and only who uses the network
// needs it.
func TestTokenFile(t *testing.T) {
	x := newFixture(t)
	_, err := x.pull()
	require.NoError(t, err)
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, exec.Command("mkfifo", pipe).Run())
	long := filepath.Join(t.TempDir(), "long")
	require.NoError(t, os.WriteFile(long, []byte(strings.Repeat("x", 5000)), 0o600))
	odd := filepath.Join(t.TempDir(), "odd")
	require.NoError(t, os.WriteFile(odd, []byte("hf_\x00secret"), 0o600))
	for path, want := range map[string]string{
		pipe:         "the Hugging Face token in " + pipe + " is not a regular file but a named pipe",
		"/dev/zero":  "the Hugging Face token in /dev/zero is not a regular file but a device",
		t.TempDir():  "is not a regular file but a directory",
		long:         "has 5000 bytes, over the limit of 4096",
		odd:          "has characters that a token cannot have",
		"/dev/null":  "",
		pipe + "off": "",
	} {
		x.env["HF_TOKEN_PATH"] = path
		x.open()
		_, err = x.hub.Find(name, "main")
		require.NoError(t, err)
		_, err = x.hub.Pull(context.Background(), name, "main", x.options())
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}
