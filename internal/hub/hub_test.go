package hub

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

const name = "acme/Tiny-Phi-3"

// shards are two files of random bytes: a model as far as this package looks.
func shards() map[string][]byte {
	rng := rand.NewChaCha8([32]byte{1})
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rng.Read(b)
		return b
	}
	return map[string][]byte{
		"config.json":                      []byte(`{"model_type": "phi3"}`),
		"generation_config.json":           []byte(`{"eos_token_id": [1, 2]}`),
		"tokenizer.json":                   random(70_000),
		"tokenizer_config.json":            {}, // empty files exist
		"model.safetensors.index.json":     []byte(`{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": random(900_000),
		"model-00002-of-00002.safetensors": random(600_000),
		"pytorch_model.bin":                random(100),
		"original/model.safetensors":       random(100),
		"onnx/model.onnx":                  random(100),
		"consolidated.safetensors":         random(100),
		"README.md":                        []byte("# Tiny"),
		"modeling_phi3.py":                 []byte("import os"),
	}
}

const shard = "model-00001-of-00002.safetensors"

// needed is what of shards() is to be downloaded.
var needed = []string{
	"config.json", "generation_config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
	"model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
}

// fixture is a hub with a model, and a cache that is empty.
type fixture struct {
	*testing.T
	server *hubtest.Server
	hub    *Hub
	commit string
	env    map[string]string

	mu     sync.Mutex
	notes  []string
	pauses []time.Duration
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	x := &fixture{T: t, server: hubtest.New()}
	t.Cleanup(x.server.Close)
	x.commit = x.server.Add(name, shards())
	x.server.Token = "hf_secret"
	x.env = map[string]string{"HF_HOME": t.TempDir(), "HF_ENDPOINT": x.server.URL + "/"}
	x.open()
	return x
}

// open makes the hub anew from the environment, with a clock that does not wait.
func (x *fixture) open() {
	x.Helper()
	h, err := New(func(name string) string { return x.env[name] })
	require.NoError(x, err)
	h.pause = func(ctx context.Context, d time.Duration) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.pauses = append(x.pauses, d)
		return ctx.Err()
	}
	x.Cleanup(h.client.CloseIdleConnections)
	x.hub = h
}

func (x *fixture) options() Options {
	return Options{Note: func(text string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.notes = append(x.notes, text)
	}}
}

func (x *fixture) pull() (*Snapshot, error) {
	return x.hub.Pull(context.Background(), name, "main", x.options())
}

// blob is the path of a blob in the cache.
func (x *fixture) blob(hash string) string { return x.hub.repo(name).path(blobFile(hash)) }

// downloads counts the requests for content.
func (x *fixture) downloads() (n int) {
	for _, r := range x.server.Requests() {
		if strings.Contains(r, "cdn/") || strings.Contains(r, "/resolve-cache/") {
			n++
		}
	}
	return n
}

// correct checks the whole cache against the layout.
func (x *fixture) correct(files map[string][]byte, commit string, links bool) {
	x.Helper()
	dir := filepath.Join(x.env["HF_HOME"], "hub", "models--acme--Tiny-Phi-3")
	snapshot := filepath.Join(dir, "snapshots", commit)
	entries, err := os.ReadDir(snapshot)
	require.NoError(x, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		data, err := os.ReadFile(filepath.Join(snapshot, e.Name()))
		require.NoError(x, err)
		require.True(x, string(files[e.Name()]) == string(data), e.Name())
		target, err := os.Readlink(filepath.Join(snapshot, e.Name()))
		if links {
			require.NoError(x, err)
			require.Equal(x, "../../blobs/"+hubtest.Hash(e.Name(), data), target)
		} else {
			require.Error(x, err, "%s is a link", e.Name())
		}
	}
	require.Equal(x, needed, names)
	ref, err := os.ReadFile(filepath.Join(dir, "refs", "main"))
	require.NoError(x, err)
	require.Equal(x, commit, string(ref))
	rest, err := filepath.Glob(filepath.Join(dir, "*", "*"+partEnding))
	require.NoError(x, err)
	require.Empty(x, rest)
}

func TestPull(t *testing.T) {
	x := newFixture(t)
	var checked, progressed bool
	options := x.options()
	options.Check = func(checkpoint fs.FS) error {
		text, err := fs.ReadFile(checkpoint, "config.json")
		require.NoError(t, err)
		require.JSONEq(t, `{"model_type": "phi3"}`, string(text))
		checked = true
		return nil
	}
	last := map[string]int64{}
	options.Progress = func(file string, done, size int64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		require.LessOrEqual(t, done, size)
		last[file] = done
		progressed = true
	}
	s, err := x.hub.Pull(context.Background(), name, "main", options)
	require.NoError(t, err)
	require.True(t, checked && progressed && s.Complete())
	require.Equal(t, x.commit, s.Commit)
	require.EqualValues(t, 900_000, last[shard])
	require.Empty(t, x.notes)
	x.correct(shards(), x.commit, true)

	// Again: everything is checked, nothing downloaded.
	before := x.downloads()
	_, err = x.pull()
	require.NoError(t, err)
	require.Equal(t, before, x.downloads())
	require.Equal(t, len(needed)-1, before, "one request a file, and none for an empty one")

	// A new commit: what has not changed is only linked.
	files := shards()
	files["config.json"] = []byte(`{"model_type": "phi3", "vocab_size": 1}`)
	files["chat_template.jinja"] = []byte("{{ messages }}")
	newer := x.server.Add(name, files)
	s, err = x.pull()
	require.NoError(t, err)
	require.Equal(t, newer, s.Commit)
	require.Equal(t, before+2, x.downloads())

	// The old one by its commit needs the list of files alone.
	s, err = x.hub.Pull(context.Background(), name, x.commit, x.options())
	require.NoError(t, err)
	require.Equal(t, x.commit, s.Commit)
	require.Equal(t, before+2, x.downloads())
	found, err := x.hub.Find(name, "main")
	require.NoError(t, err)
	require.Equal(t, newer, found.Commit, "main is not touched")
}

// A single file is taken where there are shards as well, as it is read.
func TestPullSingleFile(t *testing.T) {
	x := newFixture(t)
	files := shards()
	files["model.safetensors"] = []byte("one file")
	x.server.Add(name, files)
	s, err := x.pull()
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.FileExists(t, filepath.Join(s.Dir, "model.safetensors"))
	require.NoFileExists(t, filepath.Join(s.Dir, shard))
	require.NoFileExists(t, filepath.Join(s.Dir, "model.safetensors.index.json"))
}

// Whatever a server does to one file, the pull ends with the right bytes, or with an error and no file of
// that name.
func TestMisbehaviour(t *testing.T) {
	unavailable := hubtest.Status(503)
	for title, test := range map[string]struct {
		file     string
		faults   []hubtest.Fault
		revision string   // "": main
		err      string   // "": the pull succeeds all the same
		notes    []string // that must be said
		ranges   []string // the ranges asked for, of that file, beside whole files
	}{
		"cut in the middle": {
			file: shard, faults: []hubtest.Fault{hubtest.Cut(300_000)}, notes: []string{shard +
				": unexpected EOF; trying again in 1"},
			ranges: []string{"bytes=300000-"},
		},
		"cut again and again, each time further": {
			file: shard, faults: slices.Repeat([]hubtest.Fault{hubtest.Cut(100_000)}, 8),
			ranges: []string{
				"bytes=100000-", "bytes=200000-", "bytes=300000-", "bytes=400000-", "bytes=500000-", "bytes=600000-", "bytes=700000-", "bytes=800000-",
			},
		},
		"cut before the first byte, for ever": {
			file: shard, faults: slices.Repeat([]hubtest.Fault{hubtest.Cut(0)}, attempts), err: "download " +
				shard + ": connection to 127.0.0.1",
		},
		"cut a small file": {
			file:   "tokenizer.json",
			faults: []hubtest.Fault{hubtest.Cut(50_000)}, ranges: []string{"bytes=50000-"},
		},
		"silent in the middle": {
			file: shard, faults: []hubtest.Fault{hubtest.Hang(200_000)},
			notes: []string{"brings nothing any more"}, ranges: []string{"bytes=200000-"},
		},
		"ignores Range": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Cut(300_000), hubtest.Whole()},
			notes:  []string{"sends all of it and not the rest; beginning anew"},
			ranges: []string{"bytes=300000-"},
		},
		"ignores Range and cuts, for ever": {
			file: shard,
			faults: append([]hubtest.Fault{hubtest.Cut(300_000)},
				slices.Repeat([]hubtest.Fault{wholeThenCut(200_000)}, 3*attempts)...), err: "unexpected EOF",
		},
		"another range": {
			file: shard,
			faults: []hubtest.Fault{
				hubtest.Cut(300_000),
				hubtest.Status(206, "Content-Range: bytes 5-899999/900000", "Content-Length: 0"),
			},
			notes: []string{"not what is missing"}, ranges: []string{"bytes=300000-"},
		},
		"range of another file": {
			file: shard,
			faults: []hubtest.Fault{
				hubtest.Cut(300_000),
				hubtest.Status(206, "Content-Range: bytes 300000-799999/800000"),
			},
			ranges: []string{"bytes=300000-"},
		},
		"refuses the range": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Cut(300_000), hubtest.Status(416)},
			notes:  []string{"refuses to go on"}, ranges: []string{"bytes=300000-"},
		},
		"wrong bytes once": {
			file: shard, faults: []hubtest.Fault{hubtest.Wrong()},
			notes: []string{"is not what its hash says"},
		},
		"wrong bytes for ever": {
			file:   shard,
			faults: slices.Repeat([]hubtest.Fault{hubtest.Wrong()}, 2),
			err:    "is not what its hash says: its hash is",
		},
		"wrong bytes in a small file": {
			file:   "config.json",
			faults: slices.Repeat([]hubtest.Fault{hubtest.Wrong()}, 2),
			err:    "is not what its hash says: its hash is",
		},
		"a page instead of the file": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Body("<html>please log in</html>")},
			err:    "answers with a web page: is there a login or a proxy in between?",
		},
		"another file instead of the file": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Body("\x00please log in")}, err: "sends 14 bytes, not 900000",
		},
		"no list but an unfinished one": {
			file: "api", faults: []hubtest.Fault{hubtest.Body(`{"sha":`)},
			err: "sends an answer that is not the hub's: it is not valid JSON: it ends unfinished, at line " +
				"1, column 8",
		},
		"a list that is none": {
			file: "api", faults: []hubtest.Fault{hubtest.Body(`[]`)},
			err: "sends an answer that is not the hub's: it is not an object",
		},
		"a file that is a number": {
			file:   "api",
			faults: []hubtest.Fault{hubtest.Body(`{"siblings": [{"rfilename": 1}]}`)},
			err:    "lists a file in words that are not the hub's: rfilename is a number, not a string",
		},
		"a list of nothing": {
			file:   "api",
			faults: []hubtest.Fault{hubtest.Body(`{"siblings": [` + strings.Repeat("{},", 200_000) + `{}]}`)},
			err:    "lists more than 100000 files",
		},
		"more than it said": {
			file: shard, faults: []hubtest.Fault{tooMuch},
			err: "sends more than the 900000 bytes",
		},
		"overloaded": {
			file: shard,
			faults: []hubtest.Fault{
				unavailable, hubtest.Status(500), hubtest.Status(502),
				hubtest.Status(504),
			},
		},
		"overloaded for ever": {
			file:   shard,
			faults: slices.Repeat([]hubtest.Fault{unavailable}, attempts), err: "503 Service Unavailable",
		},
		"an address that is too old": {
			file: shard, faults: []hubtest.Fault{hubtest.Status(403)},
			notes: []string{"403 Forbidden; trying again"},
		},
		"addresses that are no good": {
			file:   shard,
			faults: slices.Repeat([]hubtest.Fault{hubtest.Status(403)}, attempts),
			err:    "answers 403 Forbidden",
		},
		"too many requests": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Status(429, "Retry-After: 7")},
			notes:  []string{"429 Too Many Requests; trying again in 7s"},
		},
		"too many requests, until a date": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Status(429, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT")},
		},
		"too many requests, the hub's way": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Status(429, `RateLimit: "api";r=0;t=55`)},
			notes:  []string{"trying again in 56s"},
		},
		"too many requests, come tomorrow": {
			file:   shard,
			faults: []hubtest.Fault{hubtest.Status(429, "Retry-After: 86400")},
			err:    "asks to come back in 24h0m0s",
		},
		"redirects in a circle": {
			file:   shard + " at the hub",
			faults: slices.Repeat([]hubtest.Fault{circle}, 20), err: "redirects more than 10 times",
		},
		"redirects to nowhere": {
			file:   shard + " at the hub",
			faults: []hubtest.Fault{hubtest.Status(302)}, err: "redirects to nowhere",
		},
		"redirects to a file on this disk": {
			file:   shard + " at the hub",
			faults: []hubtest.Fault{hubtest.Status(302, "Location: file:///etc/passwd")},
			err:    "without encryption",
		},
		"another etag": {
			file:   shard + " at the hub",
			faults: []hubtest.Fault{hubtest.Status(200, `X-Linked-Etag: "`+strings.Repeat("a", 64)+`"`)},
			err:    "has changed on 127.0.0.1",
		},
		"another size": {
			file:   shard + " at the hub",
			faults: []hubtest.Fault{hubtest.Status(200, "X-Linked-Size: 5")},
			err:    `says that the file has 5 bytes, and listed it with 900000`,
		},
		"another commit": {
			file:   shard + " at the hub",
			faults: []hubtest.Fault{hubtest.Status(200, "X-Repo-Commit: "+strings.Repeat("b", 40))},
			err:    "sends commit bbbb",
		},
		"gone": {
			file:   "config.json",
			faults: []hubtest.Fault{hubtest.Status(404, "X-Error-Code: EntryNotFound")},
			err:    "404 Not Found",
		},
		"the list is overloaded": {file: "api", faults: []hubtest.Fault{unavailable, unavailable}},
		"the list is overloaded for ever": {
			file:   "api",
			faults: slices.Repeat([]hubtest.Fault{unavailable}, 3), err: "answers 503",
		},
		"the list is silent": {
			file: "api", faults: []hubtest.Fault{hubtest.Hang(0)},
			notes: []string{"brings nothing any more"},
		},
		"the list is no JSON": {
			file: "api", faults: []hubtest.Fault{hubtest.Body("<html>")},
			err: "answers with a web page: is there a login or a proxy in between?",
		},
		"the list names no commit": {
			file:   "api",
			faults: []hubtest.Fault{hubtest.Body(`{"sha": "../../etc"}`)},
			err:    `names no commit, but "../../etc"`,
		},
		"the list leads out of the cache": {
			file: "api", faults: []hubtest.Fault{hostileHash},
			err: "no hash to check it with",
		},
		"the list is of another commit": {
			file:     "api",
			faults:   []hubtest.Fault{hubtest.Body(`{"sha": "` + strings.Repeat("c", 40) + `"}`)},
			revision: strings.Repeat("d", 40), err: "answers with cccc",
		},
		"the list has no sizes": {
			file: "api",
			faults: []hubtest.Fault{hubtest.Body(`{"sha": "` + strings.Repeat("a", 40) +
				`", "siblings": [{"rfilename": "config.json", "blobId": "` + strings.Repeat("a", 40) +
				`"}]}`)},
			err: "config.json with no size",
		},
		"the list has a size beyond reason": {
			file: "api",
			faults: []hubtest.Fault{hubtest.Body(`{"sha": "` + strings.Repeat("a", 40) +
				`", "siblings": [{"rfilename": "config.json", "size": 9000000000000, "blobId": "` +
				strings.Repeat("a", 40) + `"}]}`)}, err: "config.json with no size in 0",
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t)
			x.hub.stall = time.Second
			if !strings.Contains(title, "silent") {
				x.hub.stall = time.Minute
			}
			x.server.Fail(test.file, test.faults...)
			revision := test.revision
			if revision == "" {
				revision = "main"
			} else {
				x.server.Alias(name, revision)
			}
			s, err := x.hub.Pull(context.Background(), name, revision, x.options())
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				require.NotContains(t, err.Error(), "secret", "a signed address is not for every eye")
				_, err = x.hub.Find(name, "main")
				require.ErrorIs(t, err, ErrNotCached)
				file := strings.TrimSuffix(test.file, " at the hub")
				blobs, _ := filepath.Glob(filepath.Join(x.hub.Cache, "*", "blobs", "*"))
				for _, blob := range blobs {
					require.NotEqual(t, hubtest.Hash(file, shards()[file]), filepath.Base(blob))
				}
				// The next pull, of a server that behaves, makes it whole.
				for range 30 { // whatever faults are left over
					if _, err = x.pull(); err == nil {
						break
					}
				}
				require.NoError(t, err)
				x.correct(shards(), x.commit, true)
				return
			}
			require.NoError(t, err)
			require.True(t, s.Complete())
			x.correct(shards(), x.commit, true)
			for _, note := range test.notes {
				require.Contains(t, strings.Join(x.notes, "\n"), note)
			}
			var ranges []string
			for _, r := range x.server.Requests() {
				if _, span, ok := strings.Cut(r, test.file+" "); ok &&
					(strings.Contains(r, "cdn/") || strings.Contains(r, "resolve-cache")) {
					ranges = append(ranges, span)
				}
			}
			require.Equal(t, test.ranges, ranges)
			require.False(t, x.server.Leaked)
		})
	}
}

func wholeThenCut(n int) hubtest.Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		r.Header.Del("Range")
		return hubtest.Cut(n)(w, r, content)
	}
}

func tooMuch(w http.ResponseWriter, _ *http.Request, content []byte) bool {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // no Content-Length
	_, _ = w.Write(append(content, 'x'))
	return true
}

func circle(w http.ResponseWriter, r *http.Request, _ []byte) bool {
	http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	return true
}

func hostileHash(w http.ResponseWriter, r *http.Request, content []byte) bool {
	return hubtest.Body(`{"sha": "`+strings.Repeat("a", 40)+
		`", "siblings": [{"rfilename": "config.json", "size": 4, "blobId": "../../../../home"}]}`)(w, r,
		content)
}

// A connection that is slow is not silent, however long it takes in all.
func TestSlow(t *testing.T) {
	t.Parallel()
	x := newFixture(t)
	x.hub.stall = 3 * time.Second // much more than a pause, less than all of them
	x.server.Fail(shard, func(w http.ResponseWriter, _ *http.Request, content []byte) bool {
		for begin := 0; begin < len(content); begin += 100_000 {
			_, _ = w.Write(content[begin:min(begin+100_000, len(content))])
			_ = http.NewResponseController(w).Flush()
			time.Sleep(400 * time.Millisecond)
		}
		return true
	})
	_, err := x.pull()
	require.NoError(t, err)
	require.Empty(t, x.notes)
}

// Captive portals, and repositories that nobody can have.
func TestRefusedInTheirOwnWords(t *testing.T) {
	for want, fault := range map[string]hubtest.Fault{
		"127.0.0.1:PORT answers with a web page: is there a login or a proxy in between?":                hubtest.Body("  <HTML>sign in"),
		"127.0.0.1:PORT answers 403 Forbidden, with a web page: is there a login or a proxy in between?": hubtest.Status(403, "Content-Type: text/html; charset=utf-8"),
		name +
			" is disabled by Hugging Face: nobody can download the repository (403 Forbidden: Access to " +
			"this resource is disabled.)": hubtest.Status(403,
			"X-Error-Code: DisabledRepo", "X-Error-Message: Access to this resource is disabled."),
		"your request for access to " + name + " waits for review by its authors; http://127.0.0.1:PORT/" +
			name +
			" shows how it stands (403 Forbidden: Your request to access model is awaiting a review from " +
			"the repo authors.)": hubtest.Status(403,
			"X-Error-Code: GatedRepo", "X-Error-Message: Your request to access model is awaiting a review "+
				"from the repo authors."),
		"your request for access to " + name +
			" was rejected by its authors (403 Forbidden: Your request has been rejected by the repo's " +
			"authors.)": hubtest.Status(403,
			"X-Error-Code: GatedRepo", "X-Error-Message: Your request has been rejected by the repo's "+
				"authors."),
	} {
		x := newFixture(t)
		x.server.Fail("api", fault)
		_, err := x.pull()
		require.EqualError(t, err, strings.ReplaceAll(want, "127.0.0.1:PORT", x.hub.host()))
	}
}

// A name and a password in HF_ENDPOINT go to the hub and are never shown; nor are a proxy's.
func TestPasswords(t *testing.T) {
	x := newFixture(t)
	x.env["HF_TOKEN"] = "hf_secret"
	login := func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		user, password, ok := r.BasicAuth()
		require.True(t, ok && user == "me" && password == "p@ss",
			"instead of the token, as from Python's library")
		return false
	}
	var tries []hubtest.Fault
	for _, status := range []int{401, 403, 404, 500} {
		tries = append(tries, hubtest.Status(status))
	}
	x.server.Do(func() { x.server.Token, x.server.Login = "", "me:p@ss" })
	x.server.Fail("api", append(tries, login)...)
	x.env["HF_ENDPOINT"] = strings.Replace(x.server.URL, "http://", "http://me:p%40ss@", 1)
	x.open()
	require.Equal(t, x.server.URL, x.hub.Endpoint)
	for _, want := range []string{
		"does not accept the name and the password in HF_ENDPOINT (401", "403",
		"404", "",
	} {
		_, err := x.pull()
		if want == "" {
			require.NoError(t, err)
			break
		}
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error()+strings.Join(x.notes, ""), "p@ss")
		require.NotContains(t, err.Error()+strings.Join(x.notes, ""), "p%40ss")
	}
	x.correct(shards(), x.commit, true)
	require.False(t, x.server.Leaked)

	for _, env := range []map[string]string{
		{"HF_ENDPOINT": "ftp://me:secret@x"},
		{"HF_ENDPOINT": "http://me:secret@x?y"},
		{"HF_ENDPOINT": "http://me:sec%ret@x"},
		{"HF_ENDPOINT": "me:secret@huggingface.co"},
		{"HF_ENDPOINT": "http://me:secret@hub.invalid"},
		{"HF_ENDPOINT": "http://hub.invalid", "ALL_PROXY": "socks4://me:secret@x"},
		{"HF_ENDPOINT": "http://hub.invalid", "http_proxy": "http://me:sec%ret@x"},
		{"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": "http://me:secret@127.0.0.1:1"},
		{"HF_ENDPOINT": "http://hub.invalid", "ALL_PROXY": "socks5://me:secret@127.0.0.1:1"},
	} {
		env["HF_HOME"] = t.TempDir()
		x.env, x.notes = env, nil
		h, err := New(func(name string) string { return env[name] })
		if err == nil {
			h.pause = func(context.Context, time.Duration) error { return nil }
			_, err = h.Pull(context.Background(), name, "main", x.options())
		}
		require.Error(t, err)
		require.NotRegexp(t, "sec(%|%25)?ret", err.Error()+strings.Join(x.notes, ""))
	}
}

// A mirror that lists files without hashes tells them with each file.
func TestMirrorWithoutHashes(t *testing.T) {
	x := newFixture(t)
	x.server.Do(func() { x.server.Plain = true })
	s, err := x.pull()
	require.NoError(t, err)
	require.True(t, s.Complete())
	x.correct(shards(), x.commit, true)
	for file, want := range map[string]string{
		"etag: strange": `does not tell the hash of config.json: it does not answer ?blobs=true, and its ETag is "strange"`,
		"":              `does not tell the hash of config.json: it does not answer ?blobs=true, and its ETag is ""`,
	} {
		x := newFixture(t)
		x.server.Do(func() { x.server.Plain, x.server.ETag = true, strings.TrimPrefix(file, "etag: ")+" " })
		_, err := x.pull()
		require.ErrorContains(t, err, want)
	}
}

// What a person is told, and can do, when the hub refuses.
func TestRefused(t *testing.T) {
	pull := func(x *fixture, model, revision string) error {
		_, err := x.hub.Pull(context.Background(), model, revision, x.options())
		return err
	}
	x := newFixture(t)
	require.ErrorContains(t, pull(x, "acme/nothing", "main"),
		"has no model acme/nothing, or it is private: check the name, or set HF_TOKEN to a token from "+
			x.server.URL+"/settings/tokens (401")
	require.ErrorContains(t, pull(x, name, "v9"), `acme/Tiny-Phi-3 has no revision "v9" (404`)
	x.server.Do(func() { x.server.Gated[name] = true })
	require.ErrorContains(t, pull(x, name, "main"),
		"is gated: accept its terms at "+x.server.URL+"/acme/Tiny-Phi-3, then set HF_TOKEN")

	x.env["HF_TOKEN"] = " hf_other\n"
	x.open()
	require.ErrorContains(t, pull(x, name, "main"),
		"does not accept the token in HF_TOKEN: make a new one at")
	require.NotContains(t, pull(x, name, "main").Error(), "hf_other")

	// From the file that "hf auth login" writes. It goes to the hub and to nobody else.
	delete(x.env, "HF_TOKEN")
	tokenFile := filepath.Join(x.env["HF_HOME"], "token")
	require.NoError(t, os.WriteFile(tokenFile, []byte("hf_secret\n"), 0o600))
	x.open()
	require.ErrorContains(t, pull(x, "acme/nothing", "main"),
		"or the token in "+tokenFile+" belongs to an account that may not read it")
	require.NoError(t, pull(x, name, "main"))
	require.False(t, x.server.Leaked)
	x.server.Fail("api", hubtest.Status(403))
	require.ErrorContains(t, pull(x, name, "main"),
		"accept its terms at "+x.server.URL+"/acme/Tiny-Phi-3, with the account whose token is in "+tokenFile)

	x.env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
	x.open()
	require.ErrorContains(t, pull(x, name, "main"), "is gated")
	for bad, want := range map[string]string{
		"phi3": "is not the name of a model", "../x/y": "is not", "a/..": "is not", "a/b/c": "is not", "a--b/c": "is not", "./model": "is not", "a/b.git": "is not", "a/b\x1b": `"a/b\x1b" is not`,
	} {
		require.ErrorContains(t, pull(x, bad, "main"), want)
		require.False(t, IsName(bad))
	}
	for _, bad := range []string{
		"", "../main", "a//b", "/etc", "a/../b", ".", "a\nb", `a\b`,
		strings.Repeat("a", 201),
	} {
		require.ErrorContains(t, pull(x, name, bad), "is not a revision")
	}
}

// Repositories that phi3 cannot run are refused before anything large is downloaded.
func TestNothingToRun(t *testing.T) {
	for title, test := range map[string]struct {
		change func(files map[string][]byte)
		err    string
	}{
		"pickles": {func(files map[string][]byte) {
			delete(files, "model.safetensors.index.json")
			files["phi.gguf"] = nil
		}, "has weights as .bin, .gguf, .onnx only; phi3 reads safetensors"},
		"nothing": {
			func(files map[string][]byte) { clear(files); files["README.md"] = nil },
			"has neither model.safetensors nor",
		},
		"no config": {
			func(files map[string][]byte) { delete(files, "config.json") },
			"has no config.json",
		},
		"no tokenizer": {
			func(files map[string][]byte) { delete(files, "tokenizer.json") },
			"has no tokenizer.json",
		},
		"a shard that is not there": {
			func(files map[string][]byte) { delete(files, shard) },
			`names the shard "` + shard + `", which the repository does not have`,
		},
		"a shard that leads out": {func(files map[string][]byte) {
			files["model.safetensors.index.json"] = []byte(`{"weight_map": {"a": "../../model.safetensors"}}`)
		}, "leads out of the checkpoint's directory"},
		"a shard of another name": {func(files map[string][]byte) {
			files["\x1b[2J.safetensors"] = nil
			files["model.safetensors.index.json"] = []byte(`{"weight_map": {"a": "\u001b[2J.safetensors"}}`)
		}, `names the shard "\x1b[2J.safetensors", which`},
		"an index that is none": {func(files map[string][]byte) { files["model.safetensors.index.json"] = []byte(`[]`) }, "model.safetensors.index.json: "},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t)
			files := shards()
			test.change(files)
			x.server.Add(name, files)
			_, err := x.pull()
			require.ErrorContains(t, err, test.err)
			require.NotContains(t, strings.Join(x.server.Requests(), "\n"), "cdn/")
			_, err = x.hub.Find(name, "main")
			require.ErrorIs(t, err, ErrNotCached)
		})
	}
	x := newFixture(t)
	options := x.options()
	options.Check = func(fs.FS) error { return errors.New("is a Llama") }
	_, err := x.hub.Pull(context.Background(), name, "main", options)
	require.EqualError(t, err, "is a Llama")
	require.NotContains(t, strings.Join(x.server.Requests(), "\n"), "cdn/")
}

// Ctrl-C, or a crash: the next pull goes on where this one ended.
func TestInterruptedPullGoesOn(t *testing.T) {
	x := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	x.server.Fail(shard, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		_, _ = w.Write(content[:500_000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	options := x.options()
	options.Progress = func(file string, done, _ int64) {
		if file == shard && done == 500_000 {
			cancel()
		}
	}
	_, err := x.hub.Pull(ctx, name, "main", options)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, x.notes)
	models, err := x.hub.Models()
	require.NoError(t, err)
	require.Len(t, models, 1)
	require.Contains(t, models[0].Missing, shard)
	first := int64(-1)
	options = x.options()
	options.Progress = func(file string, done, _ int64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if file == shard && first < 0 {
			first = done
		}
	}
	_, err = x.hub.Pull(context.Background(), name, "main", options)
	require.NoError(t, err)
	x.correct(shards(), x.commit, true)
	require.Contains(t, x.server.Requests(), "GET cdn/"+shard+" bytes=500000-")
	require.EqualValues(t, 500_000, first, "what was there is told at once")

	// A part that is longer than the file, or holds other bytes, is of no use.
	blob := x.blob(hubtest.Hash(shard, shards()[shard]))
	for _, part := range [][]byte{make([]byte, 900_001), make([]byte, 900_000), make([]byte, 17)} {
		require.NoError(t, os.Remove(blob))
		require.NoError(t, os.WriteFile(blob+partEnding, part, 0o666))
		_, err = x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, true)
	}
}

// What lies in the cache damaged is found and replaced.
func TestPullRepairs(t *testing.T) {
	x := newFixture(t)
	_, err := x.pull()
	require.NoError(t, err)
	for _, damage := range []func(blob string) error{
		func(blob string) error { return os.Truncate(blob, 899_999) },
		func(blob string) error { return os.WriteFile(blob, make([]byte, 900_000), 0o666) },
		os.Remove,
	} {
		require.NoError(t, damage(x.blob(hubtest.Hash(shard, shards()[shard]))))
		_, err = x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, true)
	}
	require.Len(t, x.notes, 2)
	require.Contains(t, x.notes[0], "the copy in the cache is damaged (is not what its hash says: it has "+
		"899999 bytes, not 900000); downloading it again")
}

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

// A model that has a new name on the hub is found under the old one, and cached under it, as by
// huggingface_hub.
func TestRenamed(t *testing.T) {
	x := newFixture(t)
	x.server.Do(func() { x.server.Renamed["acme/Old"] = name })
	s, err := x.hub.Pull(context.Background(), "acme/Old", "main", x.options())
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.Equal(t, x.commit, s.Commit)
	require.Contains(t, s.Dir, "models--acme--Old")
}

// A commit that replaces another while files of the first are on their way does not mix with it.
func TestNewCommitMidway(t *testing.T) {
	x := newFixture(t)
	files := shards()
	files[shard] = append([]byte{1}, files[shard][1:]...)
	var newer string
	cut := hubtest.Cut(100_000)
	x.server.Fail(shard, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		newer = x.server.Add(name, files)
		return cut(w, r, content)
	})
	s, err := x.pull()
	require.NoError(t, err)
	require.Equal(t, x.commit, s.Commit)
	x.correct(shards(), x.commit, true)
	s, err = x.pull()
	require.NoError(t, err)
	require.Equal(t, newer, s.Commit)
	x.correct(files, newer, true)
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

func TestOfflineAndUnreachable(t *testing.T) {
	x := newFixture(t)
	x.env["HF_HUB_OFFLINE"] = "yes"
	x.open()
	_, err := x.pull()
	require.ErrorContains(t, err, "HF_HUB_OFFLINE is set, and main is not in the cache")
	require.Empty(t, x.server.Requests())

	x.env["HF_HUB_OFFLINE"] = "0"
	x.open()
	s, err := x.pull()
	require.NoError(t, err)
	requests := len(x.server.Requests())

	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	offline, err := x.pull()
	require.NoError(t, err)
	require.Equal(t, s, offline)
	require.Len(t, x.server.Requests(), requests)

	// Without the variable and without a network: said, and the cache used.
	x.env["HF_HUB_OFFLINE"] = ""
	x.open()
	x.server.Close()
	x.pauses = nil
	away, err := x.pull()
	require.NoError(t, err)
	require.Equal(t, s, away)
	require.Empty(t, x.pauses, "what is there need not be waited for")
	require.Regexp(t, `connection to 127.0.0.1:\d+: .*refused; using the copy in the cache, commit `+
		x.commit[:7], x.notes[len(x.notes)-1])
	require.NoError(t, os.Remove(filepath.Join(s.Dir, shard)))
	_, err = x.pull()
	require.ErrorContains(t, err, "connection to 127.0.0.1")
	require.Len(t, x.pauses, 2)

	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	_, err = x.pull()
	require.ErrorContains(t, err, "the cache has only a part of acme/Tiny-Phi-3: "+shard+" is missing")

	// Without what may not exist at all it goes on, and says so.
	x.env["HF_HUB_OFFLINE"] = ""
	x.open()
	x.server = hubtest.New()
	t.Cleanup(x.server.Close)
	x.server.Add(name, shards())
	x.env["HF_ENDPOINT"] = x.server.URL
	x.open()
	s, err = x.pull()
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "generation_config.json")))
	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	_, err = x.pull()
	require.NoError(t, err)
	require.Contains(t, x.notes[len(x.notes)-1],
		"the cache does not have generation_config.json, and whether the hub does is not known")
}

func TestFind(t *testing.T) {
	x := newFixture(t)
	_, err := x.pull()
	require.NoError(t, err)
	s, err := x.hub.Find(name, "main")
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.NoError(t, os.Remove(filepath.Join(s.Dir, shard)))
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "tokenizer.json")))
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "generation_config.json")))
	s, err = x.hub.Find(name, "main")
	require.NoError(t, err)
	require.Equal(t, []string{"tokenizer.json", shard}, s.Missing)
	require.Equal(t, []string{"generation_config.json"}, s.Unknown, "nobody has said that there is none")

	// A repository without one: the hub has said so.
	files := shards()
	delete(files, "generation_config.json")
	x.server.Add(name, files)
	s, err = x.pull()
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.FileExists(t, filepath.Join(x.hub.Cache, "models--acme--Tiny-Phi-3", ".no_exist", s.Commit,
		"generation_config.json"))

	ref := filepath.Join(x.hub.Cache, "models--acme--Tiny-Phi-3", "refs", "main")
	require.NoError(t, os.WriteFile(ref, []byte("../../../../etc"), 0o666))
	_, err = x.hub.Find(name, "main")
	require.ErrorContains(t, err, `refs/main should hold a commit, and holds "../../../../etc"`)
}

func TestModelsAndRemove(t *testing.T) {
	x := newFixture(t)
	models, err := x.hub.Models()
	require.NoError(t, err)
	require.Empty(t, models, "no cache yet")
	_, err = x.pull()
	require.NoError(t, err)
	files := shards()
	files["config.json"] = []byte("{}")
	newer := x.server.Add(name, files)
	_, err = x.pull()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(x.hub.Cache, "datasets--a--b", "snapshots"), 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(x.hub.Cache, "models--a--b", "blobs"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(x.hub.Cache, "models--a--b", "blobs", "1"+partEnding),
		[]byte("12345"), 0o666))

	models, err = x.hub.Models()
	require.NoError(t, err)
	require.Len(t, models, 3)
	require.Equal(t, "a/b", models[0].Name)
	require.Equal(t, "", models[0].Commit)
	require.EqualValues(t, 5, models[0].Bytes)
	require.Equal(t, name, models[1].Name)
	require.Equal(t, newer, models[1].Commit)
	require.Equal(t, []string{"main"}, models[1].Refs)
	require.Equal(t, len(needed), models[1].Files)
	require.Empty(t, models[1].Missing)
	require.WithinDuration(t, time.Now(), models[1].LastUsed, time.Hour)
	require.Equal(t, x.commit, models[2].Commit)
	require.Empty(t, models[2].Refs)
	size, err := x.hub.Size(name)
	require.NoError(t, err)
	require.Less(t, size, models[1].Bytes+models[2].Bytes, "revisions share files")

	r := x.hub.repo(name)
	root, err := os.OpenRoot(x.hub.Cache)
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	unlock, err := tryLock(root, r.lockFile(hubtest.Hash(shard, shards()[shard])))
	require.NoError(t, err)
	require.ErrorContains(t, x.hub.Remove(name), "is being downloaded by another program")
	unlock()
	require.NoError(t, x.hub.Remove(name))
	require.NoDirExists(t, r.dir)
	require.NoDirExists(t, filepath.Join(x.hub.Cache, r.lockDir()))
	require.ErrorIs(t, x.hub.Remove(name), ErrNotCached)
	require.ErrorContains(t, x.hub.Remove("../.."), "is not the name of a model")
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

func TestEnvironment(t *testing.T) {
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	for _, test := range []struct {
		env   map[string]string
		cache string
	}{
		{nil, home + "/.cache/huggingface/hub"},
		{map[string]string{"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"},
		{map[string]string{"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"},
		{map[string]string{"HF_HOME": "~/h"}, home + "/h/hub"},
		{map[string]string{"HF_HOME": "$DISK/h", "DISK": "/mnt"}, "/mnt/h/hub"},
		{map[string]string{"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"},
		{map[string]string{"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/c"}, "/c"},
	} {
		h, err := New(func(name string) string { return test.env[name] })
		require.NoError(t, err)
		require.Equal(t, filepath.FromSlash(test.cache), h.Cache)
		require.Equal(t, "https://huggingface.co", h.Endpoint)
		require.False(t, h.Offline)
	}
	for _, bad := range []string{"huggingface.co", "ftp://x", "https://", "https://x?y", ":"} {
		_, err := New(func(name string) string { return map[string]string{"HF_ENDPOINT": bad}[name] })
		require.ErrorContains(t, err, "not an address such as https://huggingface.co")
	}
	h, err := New(func(name string) string { return map[string]string{"TRANSFORMERS_OFFLINE": "on"}[name] })
	require.NoError(t, err)
	require.True(t, h.Offline)
}

func TestWaitAsked(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "120", 2 * time.Minute},
		{"Retry-After", "Fri, 02 Jan 2026 03:05:05 GMT", time.Minute},
		{"Retry-After", "Fri, 02 Jan 2026 03:03:05 GMT", 0},
		{"Retry-After", "-5", 0},
		{"Retry-After", "99999999999999999999", 0},
		{"Retry-After", "soon", 0},
		{"RateLimit", `"api";r=0;t=55`, 56 * time.Second},
		{"RateLimit", `"api";r=3;t=55`, 0},
	} {
		require.Equal(t, test.want, waitAsked(http.Header{http.CanonicalHeaderKey(test.name): {test.value}},
			now), test.value)
	}
}
