package usage

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlagGroupsHaveEachFlagOnce(t *testing.T) {
	once := map[string]bool{}
	for _, g := range flagGroups {
		for _, name := range g.flags {
			require.False(t, once[name], "flagGroups has %q twice", name)
			once[name] = true
		}
	}
}
