package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/checkpoint"
)

// The columns have the width that a terminal shows, not the number of their bytes.
func TestModelsOfWideNames(t *testing.T) {
	var shown strings.Builder
	require.NoError(t, writeModels(&shown, []checkpoint.Cached{
		{Model: "acme/a", Refs: []string{"日本語"}, Commit: "0123456789", Runs: true, Kind: "4 layers"},
		{Model: "acme/long", Commit: "0123456789", Bytes: 5_510_000, Why: "it is incomplete"},
	}))
	require.Equal(t, `model      revision          size     last read  runs
acme/a     日本語 (0123456)  0 B      –          yes: 4 layers
acme/long  0123456           5.51 MB  –          no: it is incomplete
`, shown.String())
}
