// Package docs holds no code. Its tests compare architecture.md with the program, and measure lines.
package docs

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// row is a row of the table of packages in architecture.md.
type row struct {
	folder  string   // from the root of the repository
	imports []string // folders of this repository
}

// tableRows reads the rows of the table, in order: | `folder` | its job | what it imports |
func tableRows(t *testing.T) (rows []row) {
	page, err := os.ReadFile("architecture.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(page), "\n## The packages\n")
	section, _, _ = strings.Cut(section, "\n## ")
	name := regexp.MustCompile("`([a-z0-9/-]+)`")
	for _, cells := range regexp.MustCompile("(?m)^\\| `([a-z0-9/-]+)` \\|.*\\| (.*) \\|$").
		FindAllStringSubmatch(section, -1) {
		r := row{folder: cells[1]}
		for _, found := range name.FindAllStringSubmatch(cells[2], -1) {
			r.imports = append(r.imports, folderOf(found[1]))
		}
		rows = append(rows, r)
	}
	require.NotEmpty(t, rows)
	return rows
}

// folderOf is the folder that the table's last column means: `model` is internal/model.
func folderOf(name string) string {
	if strings.HasPrefix(name, "kernels") || strings.HasPrefix(name, "cmd/") {
		return name
	}
	return "internal/" + name
}

// packages lists the packages of this repository and what they import of it, with and without CUDA.
func packages(t *testing.T) map[string][]string {
	all := map[string][]string{}
	for _, tags := range []string{"", "cuda"} {
		const format = `{{.ImportPath}} {{join .Imports " "}}`
		list := exec.Command("go", "list", "-tags", tags, "-f", format, "./...")
		list.Dir = ".."
		list.Env = append(os.Environ(), "CGO_ENABLED=1")
		list.Stderr = os.Stderr
		output, err := list.Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(output)) {
			words := strings.Fields(line)
			folder := strings.TrimPrefix(words[0], "phi3/")
			imports := all[folder]
			for _, path := range words[1:] {
				if own, ok := strings.CutPrefix(path, "phi3/"); ok && !slices.Contains(imports, own) {
					imports = append(imports, own)
				}
			}
			all[folder] = imports
		}
	}
	delete(all, "docs")
	return all
}

// TestArchitecture: the table has every package and its imports, and a package imports only packages below
// its row.
func TestArchitecture(t *testing.T) {
	rows, actual := tableRows(t), packages(t)
	below := map[string]bool{}
	for _, r := range slices.Backward(rows) {
		imports, ok := actual[r.folder]
		if !ok {
			continue // a folder without a Go package
		}
		require.ElementsMatch(t, imports, r.imports, "what %s imports", r.folder)
		for _, folder := range imports {
			require.True(t, below[folder], "%s imports %s, which is not below it", r.folder, folder)
		}
		below[r.folder] = true
	}
	for folder := range actual {
		require.True(t, below[folder], "the table has no row for %s", folder)
	}
}
