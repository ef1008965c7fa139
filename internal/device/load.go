package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"phi3/internal/checkpoint"
	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/model"
	"phi3/internal/progress"
	"phi3/internal/quantize"
	"phi3/internal/show"
)

// Options of [Device.Load].
type Options struct {
	OpenGPU func(cuda.Options) (model.Backend, error) // [cuda.Open], or a test's
	// of the machine that is available, bytes; 0: not known
	Memory       int64
	Threads      int              // of the CPU; 0: one for each processor
	Float32      bool             // round nothing
	WideWindow   bool             // see [model.Options]
	Weights      *quantize.Recipe // see [model.Options]
	Context      int              // tokens; 0: what the model was made for and fits
	Sequences    int              // see [model.Options]
	ContextAsked bool             // the user asked for Context
	Notes        io.Writer        // which device runs, and why; a bar
	Details      io.Writer
}

// Loaded is a model on its device.
type Loaded struct {
	*model.Model
	CPU  *cpu.Backend  // nil on a GPU
	Took time.Duration // to load the model
}

// Load loads a checkpoint on the device. For auto, that is the GPU. If there is no GPU, or it cannot run the
// model, Load uses the CPU, and a note says why. If the GPU fails in another way, Load returns the error,
// because the user would not know why the slower CPU is used. The caller closes the model.
func (d Device) Load(ctx context.Context, c *checkpoint.Checkpoint, o Options) (*Loaded, error) {
	start := time.Now()
	m, err := d.load(ctx, c, &o)
	if err != nil {
		return nil, err
	}
	m.Took = time.Since(start)
	return m, nil
}

func (d Device) load(ctx context.Context, c *checkpoint.Checkpoint, o *Options) (*Loaded, error) {
	if d.Kind != "cpu" {
		m, err := d.loadOnGPU(ctx, c, o)
		advice := Advice(err)
		switch {
		case err == nil:
			return m, nil
		case d.Kind == "auto" && o.leavesToCPU(err):
			_, _ = show.Fprintf(o.Notes, "running on the CPU: %v%s\n", errors.Unwrap(err), advice)
		case advice != "":
			return nil, fmt.Errorf("%w%s, and --device cpu needs no GPU", err, advice)
		default:
			return nil, err
		}
	}
	backend, err := cpu.New(cpu.Options{Threads: o.Threads, Float32: o.Float32, Memory: o.Memory})
	if err != nil {
		return nil, err
	}
	m, err := o.loadInto(ctx, backend, backend.MaxTokens(), c)
	return &Loaded{Model: m, CPU: backend}, err
}

func (d Device) loadOnGPU(ctx context.Context, c *checkpoint.Checkpoint, o *Options) (*Loaded, error) {
	backend, err := d.OpenGPU(o)
	if err != nil {
		return nil, err
	}
	m, err := o.loadInto(ctx, backend, cuda.MaxTokens, c)
	return &Loaded{Model: m}, err
}

// loadInto loads the checkpoint into a backend, which takes steps of up to maxTokens tokens.
func (o *Options) loadInto(
	ctx context.Context, b model.Backend, maxTokens int, c *checkpoint.Checkpoint,
) (*model.Model, error) {
	kind := progress.Loading
	if o.Weights != nil {
		kind = progress.Quantizing
	}
	bar := progress.Start(o.Notes, kind)
	defer bar.Stop()
	m, err := model.Load(ctx, c.FS, b, model.Options{
		Context: o.Context, Sequences: o.Sequences, MaxTokens: maxTokens, WideWindow: o.WideWindow,
		Weights: o.Weights, Progress: bar.Update,
	})
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", c.Name, err)
	}
	return m, nil
}

// leavesToCPU reports whether auto uses the CPU after this error: there is no GPU, its kernels do not support
// the model, or its memory is too small. If the user asked for a context, too little memory is an error.
func (o *Options) leavesToCPU(err error) bool {
	return errors.Is(err, cuda.ErrUnavailable) || errors.As(err, new(*cuda.UnsupportedError)) ||
		errors.As(err, new(*cuda.TooLittleError)) && !o.ContextAsked
}

// Advice returns what to do about the error of a GPU that cannot run a model, as the end of a sentence, or ""
// for other errors.
func Advice(err error) string {
	if e := new(cuda.TooLittleError); errors.As(err, &e) {
		switch {
		case e.Fits > 0:
			return fmt.Sprintf("; --ctx-size %d fits", e.Fits)
		case e.Weights <= e.Free:
			return "; no context fits beside the weights"
		}
		return "; the weights alone do not fit"
	}
	if errors.As(err, new(*cuda.UnsupportedError)) {
		return "; --dtype f32 runs it on the GPU, more slowly"
	}
	return ""
}
