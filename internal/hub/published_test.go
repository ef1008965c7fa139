package hub

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPublished(t *testing.T) {
	for want, names := range map[string][]string{
		"microsoft/Phi-3-mini-4k-instruct": {
			"phi3", "phi3:mini", "phi3:3.8b-mini-4k-instruct-q4_0", "phi3:latest",
			"Phi-3-mini-4k-instruct",
		},
		"microsoft/Phi-3-medium-4k-instruct":   {"phi3:medium", "phi3:14b"},
		"microsoft/Phi-3-medium-128k-instruct": {"phi3:medium-128k"},
		"microsoft/Phi-3-mini-128k-instruct":   {"phi3:mini-128k", "phi_3_mini_128k"},
		"microsoft/Phi-3.5-mini-instruct":      {"phi3.5", "phi3.5:3.8b"},
		"microsoft/phi-4":                      {"phi4", "phi4:14b", "phi-4"},
		"microsoft/Phi-4-mini-instruct":        {"phi4-mini", "phi4-mini:3.8b"},
		"microsoft/Phi-4-reasoning-plus":       {"phi4-reasoning:plus"},
		"":                                     {"phi", "phi:latest", "llama3", "model", "", "phi3x"},
	} {
		for _, name := range names {
			require.Equal(t, want, Published(name), name)
		}
	}
}
