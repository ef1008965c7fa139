package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/hub"
	"phi3/internal/input"
	"phi3/internal/show"
	"phi3/internal/usage"
)

func newModelsRemove(s *streams) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "rm ORG/NAME…",
		Aliases: []string{"remove"},
		Short:   "Remove models from the cache",
		Long: `Remove models from the cache, with all their revisions. Python's huggingface_hub shares
the cache, so it loses them too.`,
		Example: `  phi3 models rm microsoft/Phi-3-mini-4k-instruct`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage.Errorf("rm takes the names of models, as phi3 models lists them")
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
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func removeModel(ctx context.Context, s *streams, h *hub.Hub, argument string, yes bool) error {
	name, revision, err := h.ParseName(argument)
	if err != nil {
		return usage.Error{Err: err}
	}
	if revision != "" {
		return usage.Errorf("rm removes all revisions of a model: say phi3 models rm %s", name)
	}
	bytes, err := h.Size(name)
	if err != nil {
		return err
	}
	if !yes {
		if input.Piped(s.in) {
			return usage.Errorf("without --yes, rm asks first, and stdin is not a terminal")
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

// confirmed reads a line and reports whether it means yes. The error for an empty input is [io.EOF].
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
