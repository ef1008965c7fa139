package jinja

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// strftime_now gives what Python's datetime.strftime gives: every letter, with every flag and modifier.
func TestStrftime(t *testing.T) {
	table, err := os.ReadFile("testdata/strftime.txt")
	require.NoError(t, err)
	now := time.Date(2026, 1, 5, 7, 8, 9, 123_000, time.UTC)
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		format, want, _ := strings.Cut(line, "|")
		got, err := strftime(now, format)
		require.NoError(t, err)
		require.Equal(t, strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(want), got, format)
	}
	_, err = strftime(now, "%5d")
	require.EqualError(t, err, "strftime_now knows no widths")
}
