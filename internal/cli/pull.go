package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"phi3/internal/hub"
	"phi3/internal/model"
	"phi3/internal/progress"
	"phi3/internal/show"
	"phi3/internal/usage"
)

func newPull(s *streams) *cobra.Command {
	var revision, file string
	cmd := &cobra.Command{
		Use:   "pull ORG/NAME",
		Short: "Download a model from the Hugging Face hub",
		Long: `Download a model from the Hugging Face hub, or update the copy in the cache, and print the
directory where it is. phi3 shares the cache with Python's huggingface_hub, and finds it
by the same environment variables (HF_HOME, HF_HUB_CACHE). Neither program downloads what
the other has downloaded.

ORG/NAME may also be the address of the model's page. If the address contains a revision,
phi3 downloads that revision.

phi3 downloads only the files that it needs: configuration, tokenizer and safetensors. Of
a repository of GGUF files it downloads one, with its other parts if it is split. It
checks each file by its hash, including files that were already there, and replaces
damaged files. An interrupted download continues where it stopped.

For a private model, or one whose terms must be accepted, put a token into HF_TOKEN, or
log in with huggingface_hub's "hf auth login".`,
		Example: `  phi3 pull microsoft/Phi-3-mini-4k-instruct
  phi3 chat --model microsoft/Phi-3-mini-4k-instruct`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage.Errorf("pull takes the name of one model, such as %s", hub.ExampleName)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := hub.New(os.Getenv)
			if err != nil {
				return err
			}
			name, inAddress, err := h.ParseName(args[0])
			if err != nil {
				return usage.Error{Err: err}
			}
			if inAddress != "" {
				if cmd.Flags().Changed("revision") && inAddress != revision {
					return usage.Errorf("--revision is %q, and the address names %q", revision, inAddress)
				}
				revision = inAddress
			}
			snapshot, err := pull(cmd.Context(), h, name, revision, file, s.notes())
			if err != nil {
				return err
			}
			_, err = io.WriteString(s.text(), snapshot.Dir+"\n")
			return err
		},
		ValidArgsFunction: completeModels,
	}
	cmd.Flags().StringVar(&revision, "revision", hub.DefaultRevision, "branch, tag or commit")
	cmd.Flags().StringVar(&file, "gguf", "", "the GGUF `file` to download, where the model has several")
	return cmd
}

// pull downloads the missing files of a model. It shows the progress, and then what the cache has.
func pull(
	ctx context.Context, h *hub.Hub, name, revision, file string, notes io.Writer,
) (*hub.Snapshot, error) {
	bars := progress.NewFiles(notes)
	snapshot, err := h.Pull(ctx, name, revision, hub.Options{
		File: file,
		Check: func(checkpoint fs.FS) error {
			if _, err := model.ReadConfig(checkpoint); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		},
		Progress: bars.Update,
		Note:     bars.Note,
	})
	bars.Stop()
	if errors.Is(err, context.Canceled) {
		_, _ = show.Fprintln(notes, "what was downloaded is kept: the next pull continues from there")
	}
	if err != nil {
		return nil, err
	}
	files, bytes := snapshot.Size()
	_, _ = show.Fprintf(notes, "%s: commit %.7s, %d files, %s\n", name, snapshot.Commit, files,
		show.Bytes(bytes))
	return snapshot, nil
}
