package cli

import (
	"os"
	"path/filepath"
	"strings"
)

// shortName is what people call a model: org/name of a model in the hub's cache, and of any other directory
// its own name without the way to it.
func shortName(model string) string {
	info, err := os.Stat(model)
	if err != nil || !info.IsDir() { // phi3-demo, or org/name
		return model
	}
	path, err := filepath.Abs(model)
	if err != nil {
		return model
	}
	parts := strings.Split(filepath.ToSlash(path), "/")
	for i := len(parts) - 2; i > 0; i-- { // …/models--org--name/snapshots/commit
		if name, ok := strings.CutPrefix(parts[i-1], "models--"); ok && parts[i] == "snapshots" {
			return strings.Replace(name, "--", "/", 1)
		}
	}
	return parts[len(parts)-1]
}
