package cli

import (
	"io"
	"os"

	"phi3/internal/demo"
	"phi3/internal/hub"
	"phi3/internal/show"
)

// offerCached names the model in the cache where the demonstration runs: a user who has downloaded one may
// expect it to answer. With several models it says nothing.
func offerCached(w io.Writer) {
	h, err := hub.New(os.Getenv)
	if err != nil {
		return
	}
	list, _ := listModels(h)
	found := ""
	for _, m := range list {
		switch {
		case !m.Runs || m.labels || m.Model == found:
		case found != "":
			return
		default:
			found = m.Model
		}
	}
	if found != "" {
		_, _ = show.Fprintf(w, "%s runs; --model %s, or %s=%[2]s in the environment, runs the model in the "+
			"cache\n", demo.Name, found, modelVariable)
	}
}
