package cli

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"

	"phi3/internal/checkpoint"
	"phi3/internal/cuda"
	"phi3/internal/demo"
	"phi3/internal/device"
	"phi3/internal/machine"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// Variables so that tests can put another machine in place of this one.
var (
	openCUDA       = cuda.Open
	cudaFreeMemory = cuda.FreeMemory
	cudaDevices    = cuda.Devices
	readMemory     = machine.ReadMemory
	freeDisk       = machine.FreeDisk
)

// load loads a checkpoint that f.open opened, and says on stderr which model it is. The caller closes the
// model.
func (f *modelFlags) load(
	ctx context.Context, s *streams, c *checkpoint.Checkpoint,
) (*device.Loaded, error) {
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
	recipe, err := f.recipe()
	if err != nil {
		return nil, err
	}
	m, err := d.Load(ctx, c, device.Options{
		OpenGPU: openCUDA, Memory: readMemory().Available,
		Threads: f.threads, Float32: f.dtype == "f32", WideWindow: f.wide,
		Weights: recipe, Sequences: f.parallel,
		Context: f.context, ContextAsked: f.context > 0 && f.flags.Changed("ctx-size"),
		Notes: s.notes(), Details: s.details(),
	})
	if err != nil {
		return nil, err
	}
	f.describe(s.notes(), m, c)
	return m, nil
}

// describe says which model runs, and what of the checkpoint and of the flags has no effect.
func (f *modelFlags) describe(w io.Writer, m *device.Loaded, c *checkpoint.Checkpoint) {
	note := ""
	if c.BuiltIn {
		note = " (" + demo.Description + ")"
	}
	total := m.WeightTotal()
	_, _ = show.Fprintf(w, "model: %s%s, %d layers, %s of %s, on %s\n", c.Name, note, m.Config.Layers,
		show.Bytes(total.Bytes), total, m.Device())
	if c.BuiltIn {
		offerCached(w)
	}
	if f.weights != "" {
		writeQuantized(w, f.weights, m.Checkpoint().Stored(), m.Checkpoint().Tensors,
			m.Took)
	}
	warnAdapter(w, c.FS)
	warnUnused(w, m.Unused)
	writeNotes(w, m.Config.Notes)
	writeContext(w, m.Model)
	if m.CPU == nil && f.flags.Changed("threads") {
		_, _ = show.Fprintln(w, "warning: --threads is for the CPU and changes nothing on a GPU")
	}
	if f.wide && m.Config.SlidingWindow == 0 {
		_, _ = show.Fprintln(w, "warning: this model has no sliding window; --sliding-window-compat "+
			"changes nothing")
	}
	f.warnContext(w, m.Config.MaxPositions)
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
			shown = append(shown, show.Named(show.Brief(name)))
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
