// Command random-checkpoint writes a Phi-3 checkpoint of any size with random weights, for measurements
// without the real weights:
//
//	go run ./cmd/random-checkpoint --preset phi-3-mini --out DIR
//	go run ./cmd/random-checkpoint --config path/to/config.json --tokenizer path/to --out DIR
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := options(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fail(2, err)
	}
	start := time.Now()
	o.Progress = func(file string, size int64) {
		fmt.Fprintf(os.Stderr, "%s  %.2f GB  after %.1f s\n", file, float64(size)/1e9,
			time.Since(start).Seconds())
	}
	if err := randomckpt.Write(ctx, o); err != nil {
		if ctx.Err() != nil {
			fail(130, errors.New("interrupted"))
		}
		fail(1, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "random-checkpoint:", err)
	os.Exit(code)
}

// options parses the command line.
func options(args []string, help io.Writer) (o randomckpt.Options, err error) {
	flags := flag.NewFlagSet("random-checkpoint", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints errors
	config := flags.String("config", "", "take the model's sizes from this config.json")
	preset := flags.String("preset", "",
		"or take the sizes of a published model: phi-3-mini, phi-3-medium, phi-4, phi-4-mini")
	dtype := flags.String("dtype", "bf16", "type of the weights: bf16, f16, f32")
	flags.StringVar(&o.Dir, "out", "", "write the checkpoint into this directory")
	flags.StringVar(&o.TokenizerDir, "tokenizer", "", "copy the tokenizer from this directory")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the random weights; the same seed gives the same bytes")
	flags.Int64Var(&o.ShardBytes, "shard-bytes", 5_000_000_000,
		"the most bytes of tensors in a file")
	flags.BoolVar(&o.Force, "force", false, "replace the checkpoint in a directory that is not empty")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(help)
			flags.PrintDefaults()
		}
		return o, err
	}
	var known bool
	o.Format, known = weight.ParseFormat(strings.ToUpper(*dtype))
	switch {
	case !known:
		return o, fmt.Errorf("--dtype is %q, not bf16, f16 or f32", *dtype)
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.Dir == "":
		return o, errors.New("--out is missing: where should the checkpoint go?")
	case (*config == "") == (*preset == ""):
		return o, errors.New("give either --config or --preset")
	case *preset != "":
		o.Config, o.GenerationConfig, err = randomckpt.Preset(*preset)
		return o, err
	}
	if o.Config, err = os.ReadFile(*config); err != nil {
		return o, err
	}
	o.GenerationConfig, err = os.ReadFile(filepath.Join(filepath.Dir(*config), "generation_config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // Write makes one from Config
	}
	return o, err
}
