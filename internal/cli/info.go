package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"phi3/internal/demo"
	"phi3/internal/device"
	"phi3/internal/info"
	"phi3/internal/show"
	"phi3/internal/usage"
)

type infoFlags struct {
	model modelFlags
	json  bool
}

func newInfo(s *streams) *cobra.Command {
	var f infoFlags
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Describe a checkpoint: layers, shapes, tokens, memory",
		Long: `Describe a checkpoint: its layers as a tree with shapes and parameter counts, its context
and RoPE, and its special tokens. Then show how much memory it needs for a given
--ctx-size on the CPU and on a GPU, even if this machine has no GPU, and how much
context fits in the memory that is free on this machine.

phi3 info reads only the headers of the weights, so it is fast. If a directory has no
weights, it describes the model in config.json.`,
		Example: `  phi3 info
  phi3 info --model ./Phi-3-mini-4k-instruct
  phi3 info --model ./Phi-3-mini-128k-instruct --ctx-size 8192 --json`,
		Args: usage.NoArguments,
		RunE: func(*cobra.Command, []string) error { return f.run(s) },
	}
	flags := cmd.Flags()
	f.model.registerCheckpoint(flags)
	flags.BoolVar(&f.json, "json", false, "print everything as one JSON object")
	return cmd
}

func (f *infoFlags) run(s *streams) error {
	if err := f.model.check(); err != nil {
		return err
	}
	c, err := f.model.openCached()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	o := info.Options{
		Name: c.Name, Title: c.Title, Context: f.model.context, Float32: f.model.dtype == "f32",
		Weights:    f.model.weights,
		FreeMemory: readMemory().Available, FreeGPUMemory: func() (int64, error) { return cudaFreeMemory(0) },
		Advice: device.Advice,
	}
	if c.BuiltIn {
		o.Note = demo.Description
	}
	described, err := info.Describe(c.FS, o)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	warnUnused(s.notes(), described.Unused)
	writeNotes(s.notes(), described.Notes)
	f.model.warnContext(s.notes(), described.MaxPositions)
	if f.json {
		return show.WriteJSON(s.out, described)
	}
	return described.Write(s.out)
}
