// Command gpu-model predicts how long NVIDIA GPUs take for a step of decoding. It needs no GPU.
// docs/gpu-model.md explains the model.
//
//	gpu-model                 the tables of docs/gpu-model.md
//	gpu-model -update PAGE    writes them into the page
//	gpu-model -card H100      a step of Phi-3-mini, kernel by kernel
//	gpu-model -card NAME -figures FILE
//	                          predictions for the figures.csv of a run of the GPU kit
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"phi3/internal/gpumodel"
	"phi3/internal/model"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gpu-model:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("gpu-model", flag.ContinueOnError)
	update := flags.String("update", "", "write the tables into this page")
	name := flags.String("card", "", "the GPU: its short name in the tables, or the driver's name for it")
	figures := flags.String("figures", "", "a figures.csv of the GPU kit")
	config := flags.String("config", "", "the model's config.json; Phi-3-mini without it")
	weights := flags.String("weights", "bf16", "bf16, f16, or a type of phi3 --weights")
	cached := flags.Int("cached", 100, "tokens in the KV cache of each sequence")
	tokens := flags.Int("tokens", 1, "sequences, each with one new token")
	without := flags.String("without", "", "leave out, such as B1,B4")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *update != "" && flags.NFlag() > 1:
		return errors.New("-update writes all tables: it takes no other flags")
	case *update != "":
		return updatePage(*update)
	case *name == "" && flags.NFlag() > 0:
		return errors.New("-card is missing; without flags gpu-model prints all tables")
	case *name == "":
		return tables(out)
	}
	card := gpumodel.Find(*name)
	if card == nil {
		return fmt.Errorf("the model does not know the card %q; it knows %s", *name, known())
	}
	c, err := readConfig(*config)
	if err != nil {
		return err
	}
	if *figures != "" {
		from, err := os.Open(*figures)
		if err != nil {
			return err
		}
		defer from.Close() //nolint:errcheck // it is only read
		return gpumodel.Figures(out, from, card, c)
	}
	recipe, err := gpumodel.ParseWeights(*weights)
	if err != nil {
		return err
	}
	cures, err := gpumodel.Without(*without)
	if err != nil {
		return err
	}
	return gpumodel.WriteKernels(out, card, gpumodel.Step{
		Config: c, Weights: recipe, Cached: *cached, Tokens: *tokens, Cures: cures,
	})
}

func readConfig(path string) (*model.Config, error) {
	if path == "" {
		return gpumodel.PhiMini()
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return model.ParseConfig(text)
}

func known() string {
	var names []string
	for _, c := range gpumodel.Cards {
		names = append(names, c.Short)
	}
	return strings.Join(names, ", ")
}

func tables(out io.Writer) error {
	for _, t := range gpumodel.Tables {
		if _, err := fmt.Fprintf(out, "\n%s:\n\n", t.Name); err != nil {
			return err
		}
		if err := gpumodel.WriteTable(out, t.Name); err != nil {
			return err
		}
	}
	return nil
}

// updatePage replaces the tables of the page.
func updatePage(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := gpumodel.Update(string(page))
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o666)
}
