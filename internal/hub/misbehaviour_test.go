package hub

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

// misbehaviour is what a server does to one file, and what becomes of the pull.
type misbehaviour struct {
	file     string
	faults   []hubtest.Fault
	revision string   // "": main
	err      string   // "": the pull succeeds all the same
	notes    []string // that must be said
	ranges   []string // the ranges asked for, of that file, beside whole files
}

// Whatever a server does to one file, the pull ends with the right bytes, or with an error and no file of
// that name.
func TestMisbehaviour(t *testing.T) {
	for _, table := range []map[string]misbehaviour{contentFaults, statusFaults, listFaults} {
		for title, test := range table {
			t.Run(title, func(t *testing.T) {
				t.Parallel()
				x := newFixture(t)
				x.hub.stall = time.Minute
				if strings.Contains(title, "silent") {
					x.hub.stall = time.Second
				}
				x.server.Fail(test.file, test.faults...)
				if test.err != "" {
					x.pullFails(test)
				} else {
					x.pullSucceeds(test)
				}
			})
		}
	}
}

func (x *fixture) pullFails(test misbehaviour) {
	revision := "main"
	if test.revision != "" {
		revision = test.revision
		x.server.Alias(name, revision)
	}
	_, err := x.hub.Pull(context.Background(), name, revision, x.options())
	require.ErrorContains(x, err, test.err)
	require.NotContains(x, err.Error(), "secret", "no signature of an address in a message")
	_, err = x.hub.Find(name, "main")
	require.ErrorIs(x, err, ErrNotCached)
	file := strings.TrimSuffix(test.file, " at the hub")
	blobs, _ := filepath.Glob(filepath.Join(x.hub.Cache, "*", "blobs", "*"))
	for _, blob := range blobs {
		require.NotEqual(x, hubtest.Hash(file, shards()[file]), filepath.Base(blob))
	}
	// The next pull, from a server that behaves, succeeds.
	for range 30 { // faults may be left over
		if _, err = x.pull(); err == nil {
			break
		}
	}
	require.NoError(x, err)
	x.correct(shards(), x.commit, true)
}

func (x *fixture) pullSucceeds(test misbehaviour) {
	s, err := x.pull()
	require.NoError(x, err)
	require.True(x, s.Complete())
	x.correct(shards(), x.commit, true)
	for _, note := range test.notes {
		require.Contains(x, strings.Join(x.notes, "\n"), note)
	}
	var ranges []string
	for _, r := range x.server.Requests() {
		if _, span, ok := strings.Cut(r, test.file+" "); ok &&
			(strings.Contains(r, "cdn/") || strings.Contains(r, "resolve-cache")) {
			ranges = append(ranges, span)
		}
	}
	require.Equal(x, test.ranges, ranges)
	require.False(x, x.server.Leaked)
}

var unavailable = hubtest.Status(http.StatusServiceUnavailable)

// contentFaults are wrong, missing or late bytes of a file.
var contentFaults = map[string]misbehaviour{
	"cut in the middle": {
		file: shard, faults: []hubtest.Fault{hubtest.Cut(300_000)}, notes: []string{shard +
			": connection ended early; trying again in 1"},
		ranges: []string{"bytes=300000-"},
	},
	"cut again and again, each time further": {
		file: shard, faults: slices.Repeat([]hubtest.Fault{hubtest.Cut(100_000)}, 8),
		ranges: []string{
			"bytes=100000-", "bytes=200000-", "bytes=300000-", "bytes=400000-",
			"bytes=500000-", "bytes=600000-", "bytes=700000-", "bytes=800000-",
		},
	},
	"cut before the first byte, forever": {
		file: shard, faults: slices.Repeat([]hubtest.Fault{hubtest.Cut(0)}, attempts), err: "download " +
			shard + ": connection to 127.0.0.1",
	},
	"cut a small file": {
		file:   "tokenizer.json",
		faults: []hubtest.Fault{hubtest.Cut(50_000)}, ranges: []string{"bytes=50000-"},
	},
	"silent in the middle": {
		file: shard, faults: []hubtest.Fault{hubtest.Hang(200_000)},
		notes: []string{"the server sends nothing"}, ranges: []string{"bytes=200000-"},
	},
	"ignores Range": {
		file:   shard,
		faults: []hubtest.Fault{hubtest.Cut(300_000), hubtest.Whole()},
		notes:  []string{"sends the whole file instead of the rest; starting over"},
		ranges: []string{"bytes=300000-"},
	},
	"ignores Range and cuts, forever": {
		file: shard,
		faults: append([]hubtest.Fault{hubtest.Cut(300_000)},
			slices.Repeat([]hubtest.Fault{wholeThenCut(200_000)}, 3*attempts)...),
		err: "connection ended early",
	},
	"wrong bytes once": {
		file: shard, faults: []hubtest.Fault{hubtest.Wrong()},
		notes: []string{"is not what its hash says"},
	},
	"wrong bytes forever": {
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
	"more than it said": {
		file: shard, faults: []hubtest.Fault{tooMuch},
		err: "sends more than the 900000 bytes that it announced",
	},
}

// statusFaults are answers that are not the file.
var statusFaults = map[string]misbehaviour{
	"another range": {
		file: shard,
		faults: []hubtest.Fault{
			hubtest.Cut(300_000),
			hubtest.Status(206, "Content-Range: bytes 5-899999/900000", "Content-Length: 0"),
		},
		notes: []string{"not the missing bytes"}, ranges: []string{"bytes=300000-"},
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
		notes:  []string{"refuses to continue"}, ranges: []string{"bytes=300000-"},
	},
	"overloaded": {
		file: shard,
		faults: []hubtest.Fault{
			unavailable, hubtest.Status(500), hubtest.Status(502),
			hubtest.Status(504),
		},
	},
	"overloaded forever": {
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
		err:    "asks to wait 24h0m0s",
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
		err:    "changed on 127.0.0.1",
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
}

// listFaults are wrong lists of files.
var listFaults = map[string]misbehaviour{
	"no list but an unfinished one": {
		file: "api", faults: []hubtest.Fault{hubtest.Body(`{"sha":`)},
		err: "sends an answer that is not a hub's: it is not valid JSON: it ends unfinished, at line " +
			"1, column 8",
	},
	"a list that is none": {
		file: "api", faults: []hubtest.Fault{hubtest.Body(`[]`)},
		err: "sends an answer that is not a hub's: it is not an object",
	},
	"a file that is a number": {
		file:   "api",
		faults: []hubtest.Fault{hubtest.Body(`{"siblings": [{"rfilename": 1}]}`)},
		err:    "in the list of files, rfilename is a number, not a string",
	},
	"a list of nothing": {
		file:   "api",
		faults: []hubtest.Fault{hubtest.Body(`{"siblings": [` + strings.Repeat("{},", 200_000) + `{}]}`)},
		err:    "lists more than 100000 files",
	},
	"the list is overloaded": {file: "api", faults: []hubtest.Fault{unavailable, unavailable}},
	"the list is overloaded forever": {
		file:   "api",
		faults: slices.Repeat([]hubtest.Fault{unavailable}, 3), err: "answers 503",
	},
	"the list is silent": {
		file: "api", faults: []hubtest.Fault{hubtest.Hang(0)},
		notes: []string{"the server sends nothing"},
	},
	"the list is not JSON": {
		file: "api", faults: []hubtest.Fault{hubtest.Body("<html>")},
		err: "answers with a web page: is there a login or a proxy in between?",
	},
	"the list names no commit": {
		file:   "api",
		faults: []hubtest.Fault{hubtest.Body(`{"sha": "../../etc"}`)},
		err:    `an answer without a commit: its sha is "../../etc"`,
	},
	"the list leads out of the cache": {
		file: "api", faults: []hubtest.Fault{hostileHash},
		err: "config.json without a valid hash",
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
		err: "config.json without a size",
	},
	"the list has a size beyond reason": {
		file: "api",
		faults: []hubtest.Fault{hubtest.Body(`{"sha": "` + strings.Repeat("a", 40) +
			`", "siblings": [{"rfilename": "config.json", "size": 9000000000000, "blobId": "` +
			strings.Repeat("a", 40) + `"}]}`)}, err: "config.json without a size in 0",
	},
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

// A failure of the network is said in words, without the names of system calls.
func TestNetworkWords(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"connection refused":               refused,
		"the proxy: connection refused":    &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refused},
		"connection reset":                 os.NewSyscallError("read", syscall.ECONNRESET),
		"connection ended early":           io.ErrUnexpectedEOF,
		"the name x.invalid is not known":  &net.DNSError{Name: "x.invalid", IsNotFound: true},
		"no answer in time":                os.ErrDeadlineExceeded,
		"net/http: server sends something": errors.New("net/http: server sends something"),
	} {
		require.EqualError(t, plain(err), want)
	}
}
