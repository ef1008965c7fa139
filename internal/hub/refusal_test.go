package hub

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

// Captive portals, and repositories that nobody can have.
func TestRefusedInTheirOwnWords(t *testing.T) {
	for want, fault := range map[string]hubtest.Fault{
		"127.0.0.1:PORT answers with a web page: is there a login or a proxy in " +
			"between?": hubtest.Body("  <HTML>sign in"),
		"127.0.0.1:PORT answers 403 Forbidden, with a web page: is there a login or a proxy in " +
			"between?": hubtest.Status(403, "Content-Type: text/html; charset=utf-8"),
		name +
			" is disabled by Hugging Face, and nobody can download it (403 Forbidden: Access to " +
			"this resource is disabled.)": hubtest.Status(403,
			"X-Error-Code: DisabledRepo", "X-Error-Message: Access to this resource is disabled."),
		"your request for access to " + name + " waits for review by its authors; see http://" +
			"127.0.0.1:PORT/" + name +
			" (403 Forbidden: Your request to access model is awaiting a review from " +
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
		"etag: strange": `its ETag is "strange"`,
		"":              `its ETag is ""`,
	} {
		x := newFixture(t)
		x.server.Do(func() { x.server.Plain, x.server.ETag = true, strings.TrimPrefix(file, "etag: ")+" " })
		_, err := x.pull()
		require.ErrorContains(t, err, "does not tell the hash of config.json: it does not answer "+
			"?blobs=true, and "+want)
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
		"phi3": "is not the name of a model", "../x/y": "is not", "a/..": "is not", "a/b/c": "is not",
		"a--b/c": "is not", "./model": "is not", "a/b.git": "is not", "a/b\x1b": `"a/b\x1b" is not`,
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
