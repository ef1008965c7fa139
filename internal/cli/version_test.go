package cli

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDescribeBuild(t *testing.T) {
	setting := func(pairs ...string) (list []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	b := &debug.BuildInfo{Settings: setting("vcs.revision", "0123456789abcdef0123", "vcs.time",
		"2026-11-26T11:00:00Z", "vcs.modified", "false")}
	b.Main.Version = "(devel)"
	require.Contains(t, describeBuild(b), "phi3 (commit 0123456789ab of 2026-11-26; go1.")
	b.Main.Version = "v1.2.3"
	b.Settings = setting("vcs.revision", "0123", "vcs.modified", "true")
	require.Contains(t, describeBuild(b), "phi3 v1.2.3 (commit 0123, changed since; go1.")
	b.Settings = nil
	require.Contains(t, describeBuild(b), "phi3 v1.2.3 (go1.")
	require.Contains(t, describeBuild(&debug.BuildInfo{}), "phi3 (of an unknown commit; go1.")
}
