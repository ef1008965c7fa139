package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"phi3/internal/hub"
	"phi3/internal/model"
)

func newPull(s *streams) *cobra.Command {
	var revision string
	cmd := &cobra.Command{
		Use:   "pull ORG/NAME",
		Short: "Download a model from the Hugging Face hub",
		Long: `Download a model from the Hugging Face hub, or bring the copy in the cache up to date,
and print the directory where it is. The cache is the one of Python's huggingface_hub,
found by the same environment variables (HF_HOME, HF_HUB_CACHE): what either program has
downloaded, the other uses.

Only the files that phi3 needs are downloaded: configuration, tokenizer, safetensors. Each
is checked by its hash, those that are there already too, and a damaged one is replaced.
A download that was cut off or interrupted goes on where it ended.

For a private model, or one whose terms must be accepted, put a token into HF_TOKEN, or
log in with huggingface_hub's "hf auth login".`,
		Example: `  phi3 pull microsoft/Phi-3-mini-4k-instruct
  phi3 generate --model microsoft/Phi-3-mini-4k-instruct --chat --prompt "Why is the sky blue?"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("pull takes the name of one model, such as microsoft/Phi-3-mini-4k-instruct")
			}
			if !hub.IsName(args[0]) {
				return usagef("%q is not the name of a model; those look like microsoft/Phi-3-mini-4k-instruct", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := hub.New(os.Getenv)
			if err != nil {
				return err
			}
			snapshot, err := pull(cmd.Context(), h, args[0], revision, s.err)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, snapshot.Dir)
			return err
		},
		ValidArgsFunction: completeModels,
	}
	cmd.Flags().StringVar(&revision, "revision", hub.DefaultRevision, "branch, tag or commit")
	return cmd
}

// pull downloads what is missing of a model and says on stderr how it goes, and in the end what there is.
func pull(ctx context.Context, h *hub.Hub, name, revision string, stderr io.Writer) (*hub.Snapshot, error) {
	bars := newPullBars(stderr)
	snapshot, err := h.Pull(ctx, name, revision, hub.Options{
		Check: func(checkpoint fs.FS) error {
			if _, err := model.ReadConfig(checkpoint); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		},
		Progress: bars.update,
		Note:     bars.note,
	})
	bars.stop()
	if errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(stderr, "what has been downloaded is kept: the next pull goes on from there")
	}
	if err != nil {
		return nil, err
	}
	files, bytes := checkpointSize(snapshot.Dir)
	_, _ = fmt.Fprintf(stderr, "%s: commit %.7s, %d files, %s\n", name, snapshot.Commit, files, byteCount(bytes))
	return snapshot, nil
}

// checkpointSize counts the files of a directory and their bytes, links followed.
func checkpointSize(dir string) (files int, bytes int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.Mode().IsRegular() {
			files++
			bytes += info.Size()
		}
	}
	return files, bytes
}

// fromHub turns --model org/name into a directory of the cache, where it is not a directory itself. What the cache lacks is downloaded if
// the command runs the model, and if it only looks at files the error says how to get them.
func (f *modelFlags) fromHub(ctx context.Context, download bool, stderr io.Writer) error {
	_, err := os.Stat(f.dir)
	switch {
	case f.snapshot != nil:
		return nil
	case f.dir == "" || !os.IsNotExist(err) || !hub.IsName(f.dir):
		if f.revision != "" {
			return usagef("--revision is for a model of the hub; --model is %q", f.dir)
		}
		return nil
	}
	revision := f.revision
	if revision == "" {
		revision = hub.DefaultRevision
	}
	h, err := hub.New(os.Getenv)
	if err != nil {
		return err
	}
	s, err := h.Find(f.dir, revision)
	switch {
	case err == nil && s.Complete(), err == nil && !download:
		f.snapshot = s
		return nil
	case err != nil && !errors.Is(err, hub.ErrNotCached):
		return err
	case !download:
		return fmt.Errorf("there is no directory %s and no model of that name in the cache; phi3 pull %[1]s downloads it", f.dir)
	}
	if !h.Offline {
		_, _ = fmt.Fprintf(stderr, "%s is not in the cache yet, or not all of it: downloading from %s\n", f.dir, h.Endpoint)
	}
	if s, err = pull(ctx, h, f.dir, revision, stderr); err != nil {
		return fmt.Errorf("there is no directory %s, and as a model of the hub: %w", f.dir, err)
	}
	f.snapshot = s
	return nil
}
