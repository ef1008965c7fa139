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
	for _, name := range []string{"phi3_80.ptx", "phi3_90.ptx"} {
		ptx, err := compiled.ReadFile("compiled/" + name)
		require.NoError(t, err)
		first, _, _ := strings.Cut(string(ptx), "\n")
		require.Equal(t, "// sources "+sourcesHash(), first,
			"the kernels have changed since kernels/compiled/%s was made: run make ptx", name)
	}
}

func TestCodeFor(t *testing.T) {
	ptx := map[int]string{80: "PTX for 8.0", 90: "PTX for 9.0"}
	with := func(sources string) fstest.MapFS {
		files := fstest.MapFS{
			"compiled/phi3_80.ptx": {Data: []byte(ptx[80])},
			"compiled/phi3_90.ptx": {Data: []byte(ptx[90])},
			"compiled/phi3.fatbin": {Data: []byte("fatbin")},
		}
		if sources != "" {
			files["compiled/phi3.fatbin.sources"] = &fstest.MapFile{Data: []byte(sources)}
		}
		return files
	}
	const fresh = "now\nsm_80 sm_86 sm_89 sm_90a sm_100 sm_120\n"
	only := func(virtual int) []Code { return []Code{{[]byte(ptx[virtual]), "", virtual}} }
	native := func(arch string, virtual int) []Code {
		return append([]Code{{[]byte("fatbin"), arch, virtual}}, only(virtual)...)
	}
	alone := with("")
	delete(alone, "compiled/phi3.fatbin")
	for _, c := range []struct {
		name         string
		files        fstest.MapFS
		major, minor int
		want         []Code
	}{
		{"PTX alone", alone, 9, 0, only(90)},
		{"fresh fatbin", with(fresh), 9, 0, native("sm_90a", 90)},
		{"the newest that fits", with(fresh), 8, 9, native("sm_89", 80)},
		{"a newer minor number", with(fresh), 8, 7, native("sm_86", 80)},
		{"a newer minor number of a family", with(fresh), 12, 1, native("sm_120", 90)},
		{"one architecture alone", with("now sm_90a"), 9, 1, only(90)},
		{"an older minor number", with("now sm_86"), 8, 0, only(80)},
		{"a new major number", with(fresh), 13, 0, only(90)},
		{"an old major number", with(fresh), 7, 5, only(80)},
		{"no architecture listed", with("now\n"), 9, 0, only(90)},
		{"stale fatbin", with("then\nsm_90a\n"), 9, 0, only(90)},
		{"fatbin of unknown sources", with(""), 9, 0, only(90)},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, codeFor(c.files, "now", c.major, c.minor))
		})
	}
}
