package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"phi3/internal/checkpoint"
	"phi3/internal/device"
	"phi3/internal/hub"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/usage"
)

// modelFlags are the flags that say which model runs, and how.
type modelFlags struct {
	name     string // --model, or $PHI3_MODEL
	revision string
	file     string // --gguf
	device   string
	dtype    string
	weights  string // --weights; "": as they are stored
	threads  int
	context  int
	wide     bool // the sliding window sees one token more
	parallel int  // sequences that run at once, see [model.Options]; 0: 1
	labels   bool // the command is for models with a classification head
	flags    *pflag.FlagSet
}

// Larger values are typing errors. They would take all memory.
const (
	maxThreads = 1 << 12
	maxContext = 1 << 24 // tokens
)

func (f *modelFlags) register(flags *pflag.FlagSet) {
	f.registerCheckpoint(flags)
	f.registerDevice(flags)
}

// registerCheckpoint is for commands that look at a checkpoint and run nothing.
func (f *modelFlags) registerCheckpoint(flags *pflag.FlagSet) {
	f.registerModel(flags)
	flags.StringVar(&f.dtype, "dtype", "bf16",
		"type that the inputs of matrix products are rounded to: bf16, or f32 for no rounding")
	f.registerWeights(flags)
	flags.IntVarP(&f.context, "ctx-size", "c", 0,
		"longest sequence in tokens (default: the model's own limit, or as much of it as fits in "+
			"memory)")
}

// modelVariable is the environment variable that is read where --model is not given.
const modelVariable = "PHI3_MODEL"

func (f *modelFlags) registerModel(flags *pflag.FlagSet) {
	f.flags = flags
	flags.StringVarP(&f.name, "model", "m", "",
		"`directory` of a Hugging Face checkpoint, a GGUF file, or org/name on the hub (default: "+
			"$PHI3_MODEL, or the built-in demonstration)")
	f.name = os.Getenv(modelVariable)
	flags.StringVar(&f.revision, "revision", "",
		"branch, tag or commit of a model on the hub (default: main)")
	flags.StringVar(&f.file, "gguf", "",
		"the GGUF `file` to use, where a model on the hub or a directory has several; "+
			"--file with the name of a GGUF file is the same")
}

func (f *modelFlags) registerDevice(flags *pflag.FlagSet) {
	flags.StringVar(&f.device, "device", "auto",
		"where to run: cpu; cuda, an NVIDIA GPU (cuda:1 is the second one); or auto, "+
			"the GPU if it can run the model and has room for it, otherwise the CPU")
	flags.IntVarP(&f.threads, "threads", "t", 0, "CPU threads (default: all cores)")
	flags.BoolVar(&f.wide, "sliding-window-compat", false,
		"use a window one token wider than sliding_window says, as transformers 4.41 did")
}

// check finds mistakes in the flags' values.
func (f *modelFlags) check() error {
	switch {
	case f.dtype != "bf16" && f.dtype != "f32":
		return usage.Errorf("--dtype is %q, not bf16 or f32", f.dtype)
	case f.flags.Changed("threads") && (f.threads < 1 || f.threads > maxThreads):
		return usage.Errorf("--threads is %d, not in 1 … %d", f.threads, maxThreads)
	case f.context < 0 || f.context > maxContext:
		return usage.Errorf("--ctx-size is %d, not in 0 … %d", f.context, maxContext)
	}
	if _, err := f.recipe(); err != nil {
		return err
	}
	return f.checkName()
}

// checkName refuses an empty --model, such as an unset shell variable, so that the demonstration does not
// answer instead of the model that was meant.
func (f *modelFlags) checkName() error {
	if f.flags.Changed("model") && f.name == "" {
		return usage.Errorf("--model is empty")
	}
	return nil
}

// chosenDevice reads --device.
func (f *modelFlags) chosenDevice() (device.Device, error) {
	d, err := device.Parse(f.device)
	switch {
	case err != nil:
		err = usage.Error{Err: err}
	case d.Kind == "cuda" && f.flags.Changed("threads"):
		err = usage.Errorf("--threads is for the CPU, it changes nothing with --device %s", f.device)
	}
	return d, err
}

// openCached opens the checkpoint for a command that runs nothing: it downloads nothing. The caller closes
// it.
func (f *modelFlags) openCached() (*checkpoint.Checkpoint, error) { return f.find(nil) }

// open checks the flags and opens the checkpoint for a command that runs it: it downloads what the cache
// lacks. The caller closes it.
func (f *modelFlags) open(ctx context.Context, s *streams) (*checkpoint.Checkpoint, error) {
	if _, err := f.chosenDevice(); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f.openOrPull(ctx, s)
}

// openOrPull opens the checkpoint and downloads what the cache lacks. The caller closes it.
func (f *modelFlags) openOrPull(ctx context.Context, s *streams) (*checkpoint.Checkpoint, error) {
	return f.find(func(h *hub.Hub, name, revision, file string) (*hub.Snapshot, error) {
		if !h.Offline {
			_, _ = show.Fprintf(s.notes(), "%s is not in the cache yet, or not all of it: downloading from "+
				"%s\n", name, h.Endpoint)
		}
		return pull(ctx, h, name, revision, file, s.notes())
	})
}

func (f *modelFlags) find(
	download func(h *hub.Hub, name, revision, file string) (*hub.Snapshot, error),
) (*checkpoint.Checkpoint, error) {
	r := checkpoint.Request{Name: f.name, Revision: f.revision, File: f.file, Download: download}
	if f.name != "" && !f.flags.Changed("model") {
		r.Variable = modelVariable
	}
	c, err := checkpoint.Open(r)
	if errors.As(err, new(*checkpoint.RevisionError)) || errors.As(err, new(*checkpoint.FileError)) {
		err = usage.Error{Err: err}
	}
	return c, err
}

// checkHead refuses a model that other commands than this one are for.
func (f *modelFlags) checkHead(c *checkpoint.Checkpoint) error {
	config, err := model.ReadConfig(c.FS)
	switch {
	case err != nil:
		return fmt.Errorf("load model %s: %w", c.Name, err)
	case f.labels && config.Head == model.LMHead:
		return fmt.Errorf("%s is a %s: it continues texts and has no labels; use phi3 generate", c.Name,
			config.Head)
	case !f.labels && config.Head != model.LMHead:
		return fmt.Errorf("%s is a %s: it labels texts and cannot continue them; use phi3 classify", c.Name,
			config.Head)
	}
	return nil
}

// kvElemBytes is the size of one number in the KV cache.
func (f *modelFlags) kvElemBytes() int {
	if f.dtype == "f32" {
		return 4
	}
	return 2
}
