package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"phi3/internal/confined"
	"phi3/internal/hub"
	"phi3/internal/input"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/strictjson"
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
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			h, err := hub.New(os.Getenv)
			if err != nil {
				return err
			}
			list, err := listModels(h)
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeJSON(s.out, cacheContents{h.Cache, list})
			case len(list) == 0:
				_, _ = show.Fprintf(s.notes(), "no models in %s; phi3 pull "+
					"microsoft/Phi-3-mini-4k-instruct downloads one\n", h.Cache)
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
	Cache  string        `json:"cache"` // the directory
	Models []cachedModel `json:"models"`
}

// cachedModel is one revision of a model.
type cachedModel struct {
	Model    string    `json:"model"`
	Commit   string    `json:"commit,omitempty"` // none: an unfinished download
	Refs     []string  `json:"refs"`             // branches and tags that are at this commit
	Path     string    `json:"path"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"` // revisions share those of equal files
	LastUsed time.Time `json:"last_used"`
	Runs     bool      `json:"runs"`          // phi3 can run it
	Kind     string    `json:"kind"`          // what it is
	Why      string    `json:"why,omitempty"` // it does not run

	labels bool // it runs in phi3 classify
}

func listModels(h *hub.Hub) ([]cachedModel, error) {
	cached, err := h.Models()
	if err != nil {
		return nil, err
	}
	list := []cachedModel{}
	for _, c := range cached {
		m := cachedModel{
			Model: c.Name, Commit: c.Commit, Refs: c.Refs, Path: c.Dir, Files: c.Files, Bytes: c.Bytes, LastUsed: c.LastUsed.UTC().Truncate(time.Second),
		}
		if m.Refs == nil {
			m.Refs = []string{}
		}
		m.Kind, m.labels, m.Why = kind(c)
		m.Runs = m.Why == ""
		list = append(list, m)
	}
	return list, nil
}

// kind says what a cached model is, whether it labels texts, and why phi3 does not run it, "" if it does.
func kind(c hub.Cached) (what string, labels bool, why string) {
	if c.Commit == "" {
		return "", false, "unfinished download: phi3 pull " + c.Name + " goes on"
	}
	var config *model.Config
	dir, err := confined.Open(c.Dir)
	if err == nil {
		defer func() { _ = dir.Close() }()
		config, err = model.ReadConfig(dir)
	}
	switch {
	case err == nil:
		what = fmt.Sprintf("%d layers", config.Layers)
		if config.DType != "" {
			what += ", " + strictjson.Clip(config.DType)
		}
		if labels = config.Head != model.LMHead; labels {
			what += ", for phi3 classify"
		}
	case !slices.Contains(c.Missing, "config.json"):
		return "", false, err.Error()
	}
	if len(c.Missing) > 0 {
		return what, labels, "incomplete: " + c.Missing[0] + ellipsis(len(c.Missing) > 1) + " is missing"
	}
	return what, labels, c.Damage
}

func writeModels(w io.Writer, list []cachedModel) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(t, "model\trevision\tsize\tlast read\truns\n")
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
		used := "–" // no file of it could be looked at
		if !m.LastUsed.IsZero() {
			used = m.LastUsed.Local().Format(time.DateOnly)
		}
		_, _ = show.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", m.Model, revision, show.Bytes(m.Bytes), used,
			visible(runs))
	}
	return t.Flush()
}

func newModelsRemove(s *streams) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "rm ORG/NAME…",
		Aliases: []string{"remove"},
		Short:   "Remove models from the cache",
		Long: `Remove models from the cache, with all their revisions. Python's huggingface_hub will have
to download them again too.`,
		Example: `  phi3 models rm microsoft/Phi-3-mini-4k-instruct`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("rm takes the names of models, as phi3 models lists them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := hub.New(os.Getenv)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := removeModel(cmd.Context(), s, h, name, yes); err != nil {
					return err
				}
			}
			return nil
		},
		ValidArgsFunction: completeModels,
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func removeModel(ctx context.Context, s *streams, h *hub.Hub, argument string, yes bool) error {
	name, revision, err := h.ParseName(argument)
	if err != nil {
		return usage.Error{Err: err}
	}
	if revision != "" {
		return usagef("rm removes all revisions of a model: say phi3 models rm %s", name)
	}
	bytes, err := h.Size(name)
	if err != nil {
		return err
	}
	if !yes {
		if input.Piped(s.in) {
			return usagef("without --yes, rm asks first, and there is nobody to ask")
		}
		_, _ = show.Fprintf(s.err, "remove %s (%s) from %s? [y/N] ", name, show.Bytes(bytes), h.Cache)
		switch yes, err = confirmed(ctx, s.in); {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s is not removed: there was no answer (--yes does not ask)", name)
		case err != nil:
			return err
		case !yes:
			_, _ = show.Fprintf(s.notes(), "%s is not removed\n", name)
			return nil
		}
	}
	if err := h.Remove(name); err != nil {
		return err
	}
	_, _ = show.Fprintf(s.notes(), "removed %s, %s\n", name, show.Bytes(bytes))
	return nil
}

// confirmed reads a line and tells whether it means yes. An empty input is [io.EOF].
func confirmed(ctx context.Context, stdin io.Reader) (yes bool, err error) {
	typed := input.Until(ctx, func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil })
	line, err := bufio.NewReader(typed).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, io.EOF) && line == "":
		return false, err
	case err != nil && !errors.Is(err, io.EOF):
		return false, fmt.Errorf("read the answer: %w", err)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
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
