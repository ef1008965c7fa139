package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/show"
	"phi3/internal/usage"
)

// release is the version of this build, as the Makefile links it in: a tag of git, or what git describe makes
// of it. A plain go build leaves it empty.
var release string

// version says what this program was built from: the version, the commit and the compiler.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if release != "" {
		info.Main.Version = release
	}
	return describeBuild(info)
}

func describeBuild(info *debug.BuildInfo) string {
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	name, commit := "phi3", "of an unknown commit; "
	if v := info.Main.Version; v != "" && v != "(devel)" {
		name, commit = name+" "+v, ""
	}
	if revision := setting["vcs.revision"]; revision != "" {
		commit = "commit " + revision[:min(12, len(revision))]
		if date, _, ok := strings.Cut(setting["vcs.time"], "T"); ok {
			commit += " of " + date
		}
		if setting["vcs.modified"] == "true" {
			commit += ", changed since"
		}
		commit += "; "
	}
	return fmt.Sprintf("%s (%s%s, %s/%s)", name, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// newVersion is the command version, for users who do not know --version.
func newVersion(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:    "version",
		Short:  "Print the version, as --version does",
		Hidden: true,
		Args:   usage.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := show.Fprintln(s.out, version())
			return err
		},
	}
}
