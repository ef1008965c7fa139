package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPublishedModel(t *testing.T) {
	for name, want := range map[string]string{
		"phi3": "microsoft/Phi-3-mini-4k-instruct", "phi3:mini": "microsoft/Phi-3-mini-4k-instruct", "phi3:3.8b-mini-4k-instruct-q4_0": "microsoft/Phi-3-mini-4k-instruct",
		"phi3:latest": "microsoft/Phi-3-mini-4k-instruct", "phi3:medium": "microsoft/Phi-3-medium-4k-instruct", "phi3:14b": "microsoft/Phi-3-medium-4k-instruct",
		"phi3:medium-128k": "microsoft/Phi-3-medium-128k-instruct", "phi3:mini-128k": "microsoft/Phi-3-mini-128k-instruct",
		"phi3.5": "microsoft/Phi-3.5-mini-instruct", "phi3.5:3.8b": "microsoft/Phi-3.5-mini-instruct", "phi4": "microsoft/phi-4", "phi4:14b": "microsoft/phi-4",
		"phi4-mini": "microsoft/Phi-4-mini-instruct", "phi4-mini:3.8b": "microsoft/Phi-4-mini-instruct", "phi4-reasoning:plus": "microsoft/Phi-4-reasoning-plus",
		"Phi-3-mini-4k-instruct": "microsoft/Phi-3-mini-4k-instruct", "phi_3_mini_128k": "microsoft/Phi-3-mini-128k-instruct", "phi-4": "microsoft/phi-4",
		"phi": "", "phi:latest": "", "llama3": "", "model": "", "": "", "phi3x": "",
	} {
		require.Equal(t, want, publishedModel(name), name)
	}
}
