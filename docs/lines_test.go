package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const root = ".."

// longSpan is a span of code in Markdown that fills most of a line.
var longSpan = regexp.MustCompile("`[^`]{80,}`")

// sources calls f with the path of every file below root that a person writes. It leaves out test data and
// generated files.
func sources(t *testing.T, f func(path string)) {
	others := []string{".git", ".cache", "testdata", "compiled", "dist", "kit", "node_modules", "page"}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(others, d.Name()):
			return filepath.SkipDir
		case d.Type().IsRegular():
			f(filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator))))
		}
		return nil
	})
	require.NoError(t, err)
}

// wideLines returns the numbers of the lines of more than 110 columns, with tabs of 4. In Markdown, tables,
// headings, code and lines without spaces may be wider, because they cannot be broken.
func wideLines(text string, markdown bool) (wide []int) {
	code := false
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if markdown && strings.HasPrefix(trimmed, "```") {
			code = !code
		}
		free := code || strings.HasPrefix(trimmed, "|") || strings.HasPrefix(trimmed, "#") ||
			strings.HasPrefix(trimmed, "![") || !strings.Contains(trimmed, " ") ||
			longSpan.MatchString(trimmed)
		if markdown && free {
			continue
		}
		if utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")) > 110 {
			wide = append(wide, i+1)
		}
	}
	return wide
}

// TestLines checks the files that golangci-lint does not: those in every language but Go.
func TestLines(t *testing.T) {
	kinds := []string{
		".md", ".ts", ".tsx", ".css", ".cu", ".cuh", ".h", ".c", ".cc", ".s", ".sh", ".awk", ".yml",
	}
	sources(t, func(path string) {
		// internal/cpu/encode writes that header.
		if !slices.Contains(kinds, filepath.Ext(path)) && filepath.Base(path) != "Makefile" ||
			filepath.Base(path) == "encoded_amd64.h" {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		for _, line := range wideLines(string(text), filepath.Ext(path) == ".md") {
			t.Errorf("%s:%d has more than 110 columns", path, line)
		}
	})
	require.Equal(t, []int{2}, wideLines("\n"+strings.Repeat("\tab ", 16)+"\n|", false))
	require.Empty(t, wideLines("| "+strings.Repeat("ab ", 60), true))
	require.Equal(t, []int{1}, wideLines(strings.Repeat("ab ", 60), true))
}
