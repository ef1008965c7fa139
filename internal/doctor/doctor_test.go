package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/machine"
)

func TestMemoryFinding(t *testing.T) {
	const gb = 1_000_000_000
	require.Equal(t, Finding{About: "memory", Status: OK, Found: "64.0 GB, 60.0 GB of it available"},
		memory(machine.Memory{Total: 64 * gb, Available: 60 * gb}))
	f := memory(machine.Memory{Total: 64 * gb, Available: 60 * gb, Limit: 4 * gb})
	require.Equal(t, "64.0 GB, 60.0 GB of it available; this process may have 4.00 GB", f.Found)
	require.Contains(t, f.Hint, "Phi-3-mini")
	require.Empty(t, memory(machine.Memory{Total: 64 * gb, Available: 60 * gb, Limit: 100 * gb}).Hint)
	require.Equal(t, Missing, memory(machine.Memory{}).Status)
}
