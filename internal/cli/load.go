package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"phi3/internal/checkpoint"
	"phi3/internal/cpu"
	"phi3/internal/cuda"
	"phi3/internal/demo"
	"phi3/internal/model"
	"phi3/internal/progress"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// loaded is a model on its device.
type loaded struct {
	*model.Model
	took time.Duration // to load it
	cpu  *cpu.Backend  // nil on a GPU
}

// load loads a checkpoint that f.open opened, and says on stderr which model it is. The caller closes the
// model.
func (f *modelFlags) load(ctx context.Context, s *streams, c *checkpoint.Checkpoint) (*loaded, error) {
	if err := f.checkHead(c); err != nil {
		return nil, err
	}
	d, err := f.chosenDevice()
	if err != nil {
		return nil, err
	}
	if cores := runtime.NumCPU(); f.threads > cores {
		_, _ = show.Fprintf(s.notes(), "note: --threads is %d; this machine has %d processors, and %[2]d "+
			"threads run\n", f.threads, cores)
		f.threads = cores
	}
	start := time.Now()
	m, err := f.loadOn(ctx, d, c, s)
	if err != nil {
		return nil, err
	}
	m.took = time.Since(start)
	f.describe(s.notes(), m, c)
	return m, nil
}

// describe says which model runs, and what of the checkpoint and of the flags has no effect.
func (f *modelFlags) describe(w io.Writer, m *loaded, c *checkpoint.Checkpoint) {
	note := ""
	if c.BuiltIn {
		note = " (" + demo.Description + ")"
	}
	_, _ = show.Fprintf(w, "model: %s%s, %d layers, %s, on %s\n", c.Name, note, m.Config.Layers,
		show.Bytes(m.WeightBytes()), m.Device())
	if c.BuiltIn {
		offerCached(w)
	}
	warnAdapter(w, c.FS)
	warnUnused(w, m.Unused)
	writeNotes(w, m.Config.Notes)
	writeContext(w, m.Model)
	if m.cpu == nil && f.flags.Changed("threads") {
		_, _ = show.Fprintln(w, "warning: --threads is for the CPU and changes nothing on a GPU")
	}
	if f.wide && m.Config.SlidingWindow == 0 {
		_, _ = show.Fprintln(w, "warning: this model has no sliding window; --sliding-window-compat "+
			"changes nothing")
	}
	f.warnContext(w, m.Config.MaxPositions)
}

// loadOn loads the model on the device. For auto that is the GPU, and the CPU if there is no GPU or the GPU
// cannot run the model. A GPU that fails in another way is an error: the CPU would be slow without a word.
func (f *modelFlags) loadOn(
	ctx context.Context, d device, c *checkpoint.Checkpoint, s *streams,
) (*loaded, error) {
	if d.name != "cpu" {
		m, err := f.loadOnGPU(ctx, d, c, s)
		hint := advice(err)
		switch {
		case err == nil:
			return m, nil
		case d.name == "auto" && f.leavesToCPU(err):
			_, _ = show.Fprintf(s.notes(), "running on the CPU: %v%s\n", errors.Unwrap(err), hint)
		case hint != "":
			return nil, fmt.Errorf("%w%s, and --device cpu needs no GPU", err, hint)
		default:
			return nil, err
		}
	}
	backend, err := cpu.New(cpu.Options{
		Threads: f.threads, Float32: f.dtype == "f32", Memory: readMemory().Available,
	})
	if err != nil {
		return nil, err
	}
	m, err := f.loadInto(ctx, backend, backend.MaxTokens(), c, s)
	return &loaded{Model: m, cpu: backend}, err
}

func (f *modelFlags) loadOnGPU(
	ctx context.Context, d device, c *checkpoint.Checkpoint, s *streams,
) (*loaded, error) {
	backend, err := d.openGPU(f.dtype == "f32", s)
	if err != nil {
		return nil, err
	}
	m, err := f.loadInto(ctx, backend, cudaMaxTokens, c, s)
	return &loaded{Model: m}, err
}

// loadInto loads the checkpoint into a backend, which takes steps of up to maxTokens tokens.
func (f *modelFlags) loadInto(
	ctx context.Context, b model.Backend, maxTokens int, c *checkpoint.Checkpoint, s *streams,
) (*model.Model, error) {
	bar := progress.Start(s.notes(), progress.Loading)
	defer bar.Stop()
	m, err := model.Load(ctx, c.FS, b, model.Options{
		Context: f.context, MaxTokens: maxTokens, WideWindow: f.wide, Progress: bar.Update,
	})
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", c.Name, err)
	}
	return m, nil
}

// leavesToCPU tells whether the CPU runs what the GPU cannot: there is no GPU, its kernels are not made for
// the model, or it has too little memory for every context, and none was asked for.
func (f *modelFlags) leavesToCPU(err error) bool {
	asked := f.context > 0 && f.flags.Changed("ctx-size")
	return errors.Is(err, cuda.ErrUnavailable) || errors.As(err, new(*cuda.UnsupportedError)) ||
		errors.As(err, new(*cuda.TooLittleError)) && !asked
}

// advice follows the error of a GPU that cannot run a model; "" for other errors.
func advice(err error) string {
	if tooLittle := new(cuda.TooLittleError); errors.As(err, &tooLittle) {
		return "; " + whatFits(tooLittle)
	}
	if errors.As(err, new(*cuda.UnsupportedError)) {
		return inFloat32
	}
	return ""
}

// inFloat32 is the advice for a [cuda.UnsupportedError].
const inFloat32 = "; --dtype f32 runs it on the GPU, more slowly"

// whatFits says how much of the model fits in a GPU that has too little memory.
func whatFits(e *cuda.TooLittleError) string {
	switch {
	case e.Fits > 0:
		return fmt.Sprintf("--ctx-size %d fits", e.Fits)
	case e.Weights <= e.Free:
		return "no context fits beside the weights"
	}
	return "the weights alone do not fit"
}

// loadTokenizer loads the tokenizer of a checkpoint.
func loadTokenizer(c *checkpoint.Checkpoint) (*tokenizer.Tokenizer, error) {
	t, err := tokenizer.Load(c.FS)
	if err != nil {
		return nil, fmt.Errorf("load the tokenizer of %s: %w", c.Name, err)
	}
	return t, nil
}

// warnAdapter says that a LoRA adapter beside the weights has no effect. Transformers would apply it.
func warnAdapter(w io.Writer, fsys fs.FS) {
	if _, err := fs.Stat(fsys, "adapter_config.json"); err == nil {
		_, _ = show.Fprintln(w, "warning: beside the weights is a LoRA adapter (adapter_config.json), "+
			"which phi3 does not apply: merge it into the weights")
	}
}

// writeNotes says how the checkpoint was read where its files leave a choice.
func writeNotes(w io.Writer, notes []string) {
	for _, n := range notes {
		_, _ = show.Fprintf(w, "note: %s\n", n)
	}
}

func warnUnused(w io.Writer, unused []string) {
	if n := len(unused); n > 0 {
		var shown []string
		for _, name := range unused[:min(n, 3)] {
			shown = append(shown, visible(show.Brief(name)))
		}
		_, _ = show.Fprintf(w, "warning: %d tensors of the checkpoint are not part of a Phi-3 model and are "+
			"ignored: %s%s\n", n, strings.Join(shown, ", "), ellipsis(n > 3))
	}
}

func ellipsis(more bool) string {
	if more {
		return ", …"
	}
	return ""
}
