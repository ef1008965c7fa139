package cli

import (
	"io"
	"os"

	"phi3/internal/checkpoint"
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
	list, _ := checkpoint.List(h)
	if found := checkpoint.OnlyOne(list); found != "" {
		_, _ = show.Fprintf(w, "%s runs; --model %s, or %s=%[2]s in the environment, runs the model in the "+
			"cache\n", demo.Name, found, modelVariable)
	}
}
