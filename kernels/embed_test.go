package kernels

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A kernel that was changed and not compiled again must not pass: whoever has a driver and no toolkit would
// run the old one.
func TestCommittedPTXIsFresh(t *testing.T) {
	ptx, err := compiled.ReadFile("compiled/phi3.ptx")
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(ptx), "\n")
	require.Equal(t, "// sources "+sourcesHash(), first,
		"the kernels have changed since kernels/compiled/phi3.ptx was made: run make ptx")
}

func TestCodeFor(t *testing.T) {
	const ptx = "PTX"
	with := func(sources string) fstest.MapFS {
		files := fstest.MapFS{
			"compiled/phi3.ptx":    {Data: []byte(ptx)},
			"compiled/phi3.fatbin": {Data: []byte("fatbin")},
		}
		if sources != "" {
			files["compiled/phi3.fatbin.sources"] = &fstest.MapFile{Data: []byte(sources)}
		}
		return files
	}
	const fresh = "now\nsm_80 sm_86 sm_89 sm_90a sm_100 sm_120\n"
	native := func(arch string) []Code { return []Code{{[]byte("fatbin"), arch}, {Image: []byte(ptx)}} }
	only := []Code{{Image: []byte(ptx)}}
	for _, c := range []struct {
		name         string
		files        fstest.MapFS
		major, minor int
		want         []Code
	}{
		{"PTX alone", fstest.MapFS{"compiled/phi3.ptx": {Data: []byte(ptx)}}, 9, 0, only},
		{"fresh fatbin", with(fresh), 9, 0, native("sm_90a")},
		{"the newest that fits", with(fresh), 8, 9, native("sm_89")},
		{"a newer minor number", with(fresh), 8, 7, native("sm_86")},
		{"a newer minor number of a family", with(fresh), 12, 1, native("sm_120")},
		{"one architecture alone", with("now sm_90a"), 9, 1, only},
		{"an older minor number", with("now sm_86"), 8, 0, only},
		{"a new major number", with(fresh), 13, 0, only},
		{"an old major number", with(fresh), 7, 5, only},
		{"no architecture listed", with("now\n"), 9, 0, only},
		{"stale fatbin", with("then\nsm_90a\n"), 9, 0, only},
		{"fatbin of unknown sources", with(""), 9, 0, only},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, codeFor(c.files, "now", c.major, c.minor))
		})
	}
}
