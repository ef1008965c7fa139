package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"phi3/internal/usage"
)

var update = flag.Bool("update", false, "rewrite docs/commands (make docs)")

// docs/commands has a page for every command, equal to its help, and no other page.
func TestCommandPages(t *testing.T) {
	const folder = "../../docs/commands"
	pages := map[string]string{}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		file := func(cmd *cobra.Command) string {
			return strings.ReplaceAll(cmd.CommandPath(), " ", "_") +
				".md"
		}
		page := "## " + cmd.CommandPath() + "\n\n```\n" + usage.Page(cmd) + "```\n\n### See also\n\n"
		if cmd.HasParent() {
			page += fmt.Sprintf("* [%s](%s): %s\n", cmd.Parent().CommandPath(), file(cmd.Parent()),
				cmd.Parent().Short)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
			if _, ok := pages[file(sub)]; ok {
				page += fmt.Sprintf("* [%s](%s): %s\n", sub.CommandPath(), file(sub), sub.Short)
			}
		}
		pages[file(cmd)] = page
	}
	visit(newRoot(&streams{}))
	require.Greater(t, len(pages), 10)
	if *update {
		require.NoError(t, os.RemoveAll(folder))
		require.NoError(t, os.MkdirAll(folder, 0o755))
		for name, page := range pages {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(page), 0o644))
		}
	}
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, files, len(pages))
	for name, page := range pages {
		written, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		require.Equal(t, page, string(written), "make docs updates docs/commands/%s", name)
	}
}
