package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/model"
	"phi3/internal/usage"
)

// insideFlags are the flags of next-token that look inside the model.
type insideFlags struct {
	layers    bool
	every     int    // show every nth layer; 0: as many as are easy to read
	attention string // LAYER[:HEAD], both from 1
	svg       string // file

	flags       *pflag.FlagSet
	layer, head int // parsed; layer 0: no attention asked for, head 0: all
}

func (f *insideFlags) register(flags *pflag.FlagSet) {
	f.flags = flags
	flags.BoolVar(&f.layers, "layers", false, "show what the model would say if it ended after each layer")
	flags.IntVar(&f.every, "every", 0, "with --layers or --svg: show every `n`th layer and the last "+
		"(default: all layers if there are up to 24, otherwise fewer)")
	flags.StringVar(&f.attention, "attention", "",
		"show which tokens the last token looks at in this `layer[:head]`, both counted from 1")
	flags.StringVar(&f.svg, "svg", "", "draw the path from the prompt to the next token into this `file`")
}

func (f *insideFlags) parse() error {
	switch {
	case f.flags.Changed("svg") && f.svg == "":
		return usage.Errorf("--svg is empty, not the name of a file")
	case f.flags.Changed("every") && f.every < 1:
		return usage.Errorf("--every is %d, not 1 or more", f.every)
	case f.flags.Changed("every") && !f.lens():
		return usage.Errorf("--every is for --layers and --svg")
	case !f.flags.Changed("attention"):
		return nil
	}
	layer, head, named := strings.Cut(f.attention, ":")
	var err error
	if f.layer, err = strconv.Atoi(layer); err == nil && named {
		f.head, err = strconv.Atoi(head)
	}
	if err != nil || f.layer < 1 || named && f.head < 1 {
		return usage.Errorf("--attention is %q, not LAYER or LAYER:HEAD, both counted from 1", f.attention)
	}
	return nil
}

func (f *insideFlags) check(c *model.Config) error {
	switch {
	case f.layer > c.Layers:
		return usage.Errorf("--attention names layer %d, the model has layers 1 to %d", f.layer, c.Layers)
	case f.head > c.Heads:
		return usage.Errorf("--attention names head %d, a layer has heads 1 to %d", f.head, c.Heads)
	}
	return nil
}

// lens reports whether the flags ask for what the model would say after each layer.
func (f *insideFlags) lens() bool { return f.layers || f.svg != "" }
