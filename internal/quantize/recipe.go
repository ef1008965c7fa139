package quantize

import (
	"fmt"
	"strings"

	"phi3/internal/weight"
)

// A Recipe says in which formats a checkpoint's matrices are stored.
type Recipe struct {
	Layers     weight.Format // the matrices of the layers
	Embeddings weight.Format // the embedding table, and the head
}

// recipes are the names that a user may give, the largest format first. The embedding table and the head have
// at least six bits, as the head has in llama.cpp's usual mixtures: they are a small part of a large model,
// and errors of the head are errors of the logits.
var recipes = []struct {
	name string
	Recipe
}{
	{"q8_0", Recipe{weight.Q8_0, weight.Q8_0}},
	{"q6_k", Recipe{weight.Q6_K, weight.Q6_K}},
	{"q5_k", Recipe{weight.Q5_K, weight.Q6_K}},
	{"q5_1", Recipe{weight.Q5_1, weight.Q6_K}},
	{"q5_0", Recipe{weight.Q5_0, weight.Q6_K}},
	{"q4_k", Recipe{weight.Q4_K, weight.Q6_K}},
	{"q4_1", Recipe{weight.Q4_1, weight.Q6_K}},
	{"q4_0", Recipe{weight.Q4_0, weight.Q6_K}},
	{"iq4_nl", Recipe{weight.IQ4_NL, weight.Q6_K}},
	{"iq4_xs", Recipe{weight.IQ4_XS, weight.Q6_K}},
	{"q3_k", Recipe{weight.Q3_K, weight.Q6_K}},
	{"q2_k", Recipe{weight.Q2_K, weight.Q6_K}},
}

// Names returns the names of the recipes, the largest format first.
func Names() []string {
	names := make([]string, len(recipes))
	for i, r := range recipes {
		names[i] = r.name
	}
	return names
}

// Parse returns the recipe of that name, in upper or lower case. The error lists the names.
func Parse(name string) (Recipe, error) {
	for _, r := range recipes {
		if strings.EqualFold(r.name, name) {
			return r.Recipe, nil
		}
	}
	return Recipe{}, fmt.Errorf("phi3 cannot store weights as %q; it can as %s", name,
		strings.Join(Names(), ", "))
}

// fallback maps formats of 256 weights a block to those of 32 weights a block that take their place in rows
// that are not a multiple of 256. Except for Q2_K and Q3_K, for which llama.cpp takes Q4_0 (IQ4_NL in
// earlier versions), they are those of llama.cpp (tensor_type_fallback in llama-quant.cpp).
var fallback = map[weight.Format]weight.Format{
	weight.Q2_K:   weight.IQ4_NL,
	weight.Q3_K:   weight.IQ4_NL,
	weight.IQ4_XS: weight.IQ4_NL,
	weight.Q4_K:   weight.Q5_0,
	weight.Q5_K:   weight.Q5_1,
	weight.Q6_K:   weight.Q8_0,
}

// FormatOf returns the format that t is stored in if f is asked for. It is f for a matrix whose rows are a
// whole number of f's blocks, otherwise a format of 32 weights a block. Tensors that are not matrices, and
// matrices whose rows are not a multiple of 32, stay as they are. A matrix that is quantized already is an
// error: quantizing it again would lose more than the format does.
func FormatOf(t *weight.Tensor, f weight.Format) (weight.Format, error) {
	if len(t.Shape) != 2 {
		return t.Format, nil
	}
	if t.Format.Quantized() {
		return 0, fmt.Errorf("%s: tensor %q is already quantized, as %s: use the checkpoint as it is, or "+
			"quantize the original, whose weights are BF16, F16 or F32", t.File, t.Name, t.Format)
	}
	if quantizers[f] == nil {
		return 0, fmt.Errorf("phi3 cannot store weights as %s", f)
	}
	if weights, _ := f.Block(); t.Shape[1]%weights == 0 {
		return f, nil
	}
	if other, ok := fallback[f]; ok && t.Shape[1]%32 == 0 {
		return other, nil
	}
	return t.Format, nil
}
