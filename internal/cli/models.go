package cli

import (
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/checkpoint"
	"phi3/internal/hub"
	"phi3/internal/show"
	"phi3/internal/usage"
)

func newModels(s *streams) *cobra.Command {
	cmd := newModelsList(s, "models")
	cmd.Short = "List the models in the cache, or remove them"
	cmd.Long = `List the models in the cache of Hugging Face downloads, which phi3 shares with Python's
huggingface_hub: each revision with its size, when it was last read, and whether phi3 can
run it or why not.`
	cmd.Example = `  phi3 models
  phi3 models rm microsoft/Phi-3-mini-4k-instruct`
	list := newModelsList(s, "list")
	list.Aliases = []string{"ls"}
	list.Short = "The same as phi3 models"
	cmd.AddCommand(list, newModelsRemove(s))
	return cmd
}

// newModelsList is the command, by either name.
func newModelsList(s *streams, name string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:  name,
		Args: usage.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			h, err := hub.New(os.Getenv)
			if err != nil {
				return err
			}
			list, err := checkpoint.List(h)
			switch {
			case err != nil:
				return err
			case asJSON:
				return show.WriteJSON(s.out, cacheContents{h.Cache, list})
			case len(list) == 0:
				_, _ = show.Fprintf(s.notes(), "no models in %s; phi3 pull %s downloads one\n",
					h.Cache, hub.ExampleName)
				return nil
			}
			return writeModels(s.out, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as one JSON object")
	return cmd
}

// cacheContents is the answer of --json.
type cacheContents struct {
	Cache  string              `json:"cache"` // the directory
	Models []checkpoint.Cached `json:"models"`
}

func writeModels(w io.Writer, list []checkpoint.Cached) error {
	rows := [][]string{{"model", "revision", "size", "last read", "runs"}}
	for _, m := range list {
		revision := "–"
		if m.Commit != "" {
			revision = m.Commit[:7]
		}
		if len(m.Refs) > 0 {
			revision = strings.Join(m.Refs, ", ") + " (" + revision + ")"
		}
		runs := "yes: " + m.Kind
		if !m.Runs {
			runs = "no: " + m.Why
		}
		used := "–" // no file of it can be read
		if !m.LastUsed.IsZero() {
			used = m.LastUsed.Local().Format(time.DateOnly)
		}
		rows = append(rows, []string{m.Model, revision, show.Bytes(m.Bytes), used, runs})
	}
	_, err := io.WriteString(w, show.Table(rows))
	return err
}

// completeModels offers a shell the names of the models in the cache. Where none fits, the shell offers
// files.
func completeModels(
	_ *cobra.Command, args []string, begun string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	h, err := hub.New(os.Getenv)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	cached, _ := h.Models()
	var names []cobra.Completion
	for _, c := range cached {
		if strings.HasPrefix(c.Name, begun) && !slices.Contains(names, c.Name) &&
			!slices.Contains(args, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}
