package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phi3/internal/quantize"
	"phi3/internal/show"
	"phi3/internal/usage"
	"phi3/internal/weight"
)

// registerWeights adds the flag --weights.
func (f *modelFlags) registerWeights(flags *pflag.FlagSet) {
	flags.StringVar(&f.weights, "weights", "",
		"quantize the matrices while loading: "+listed(quantize.Names())+" (default: as they are stored)")
}

// recipe reads --weights. It returns nil where the weights stay as they are stored.
func (f *modelFlags) recipe() (*quantize.Recipe, error) {
	if f.weights == "" {
		return nil, nil //nolint:nilnil // see the docstring
	}
	return parseWeights(f.weights)
}

func parseWeights(name string) (*quantize.Recipe, error) {
	if r, err := quantize.Parse(name); err == nil {
		return &r, nil
	}
	names, hint := quantize.Names(), ""
	short := strings.ToLower(name)
	for _, mix := range []string{"_s", "_m", "_l"} { // llama.cpp's mixtures, such as Q4_K_M
		short = strings.TrimSuffix(short, mix)
	}
	if slices.Contains(names, short) {
		hint = "; did you mean " + short + "?"
	}
	return nil, usage.Errorf("--weights is %q, not %s%s", name, listed(names), hint)
}

// listed joins names with commas and an "or".
func listed(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// writeQuantized says what --weights has made of a checkpoint's tensors, and why some matrices have another
// type than it asks for.
func writeQuantized(w io.Writer, name string, stored, made []*weight.Tensor, took time.Duration) {
	before, after := weight.Sum(stored), weight.Sum(made)
	_, _ = show.Fprintf(w, "quantized (--weights %s): %s of %s became %s in %s: %s\n", name,
		show.Bytes(before.Bytes), before, show.Bytes(after.Bytes), show.Duration(took), matrixTypes(made))
	recipe, err := quantize.Parse(name)
	if err != nil {
		return
	}
	var others []*weight.Tensor
	for _, t := range made {
		if len(t.Shape) == 2 && t.Format != recipe.Layers && t.Format != recipe.Embeddings {
			others = append(others, t)
		}
	}
	if len(others) > 0 {
		weights, _ := recipe.Layers.Block()
		if weights < 256 { // only the embedding table and the head can have other blocks
			weights, _ = recipe.Embeddings.Block()
		}
		_, _ = show.Fprintf(w, "note: rows that are not a multiple of %d weights have another type: %s\n",
			weights, matrixTypes(others))
	}
}

// matrixTypes counts the matrices of each type: "128 × Q4_K, 2 × Q6_K".
func matrixTypes(tensors []*weight.Tensor) string {
	var matrices []*weight.Tensor
	for _, t := range tensors {
		if len(t.Shape) == 2 {
			matrices = append(matrices, t)
		}
	}
	var counts []string
	for _, t := range weight.Totals(matrices) {
		counts = append(counts, fmt.Sprintf("%d × %s", t.Tensors, t.Format))
	}
	return strings.Join(counts, ", ")
}

// completeWeights offers the values of --weights with the bits of a weight.
func completeWeights(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var offers []cobra.Completion
	for _, name := range quantize.Names() {
		r, _ := quantize.Parse(name)
		about := fmt.Sprintf("%.4g bits a weight", r.Layers.BitsPerWeight())
		offers = append(offers, cobra.CompletionWithDesc(name, about))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
