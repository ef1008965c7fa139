package kernels

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A kernel that was changed and not compiled again must not pass: whoever has a driver and no toolkit would run the old one.
func TestCommittedPTXIsFresh(t *testing.T) {
	ptx, err := compiled.ReadFile("compiled/phi3.ptx")
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(ptx), "\n")
	require.Equal(t, "// sources "+sourcesHash(), first, "the kernels have changed since kernels/compiled/phi3.ptx was made: run make ptx")
}

func TestImage(t *testing.T) {
	ptx := fstest.MapFile{Data: []byte("ptx")}
	fatbin := fstest.MapFile{Data: []byte("fatbin")}
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		want  string
	}{
		{"PTX alone", fstest.MapFS{"compiled/phi3.ptx": &ptx}, "ptx"},
		{
			"fresh fatbin",
			fstest.MapFS{"compiled/phi3.ptx": &ptx, "compiled/phi3.fatbin": &fatbin, "compiled/phi3.fatbin.sources": {Data: []byte("now\n")}},
			"fatbin",
		},
		{
			"stale fatbin",
			fstest.MapFS{"compiled/phi3.ptx": &ptx, "compiled/phi3.fatbin": &fatbin, "compiled/phi3.fatbin.sources": {Data: []byte("then\n")}},
			"ptx",
		},
		{"fatbin of unknown sources", fstest.MapFS{"compiled/phi3.ptx": &ptx, "compiled/phi3.fatbin": &fatbin}, "ptx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, string(image(c.files, "now")))
		})
	}
}
