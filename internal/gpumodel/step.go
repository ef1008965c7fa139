package gpumodel

import (
	"fmt"
	"strings"

	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/weight"
)

// Cures are what a step does against the losses at the edges of kernels.
type Cures struct {
	Prefetch bool // B1: a product prefetches the next one's weights into L2
	Join     bool // B2: attention joins its chunks in parallel
	Ahead    bool // B3: the id of the next token stays on the device
	Overlap  bool // B4: programmatic dependent launch, where the GPU has it
	Batch    bool // B5: kernels for 9 to 64 tokens
}

// Steps are predicted with none of the cures, with some, or with all.
var (
	None = Cures{}
	All  = Cures{true, true, true, true, true}
)

var cureNames = []struct {
	name string
	of   func(*Cures) *bool
}{
	{"B1", func(c *Cures) *bool { return &c.Prefetch }},
	{"B2", func(c *Cures) *bool { return &c.Join }},
	{"B3", func(c *Cures) *bool { return &c.Ahead }},
	{"B4", func(c *Cures) *bool { return &c.Overlap }},
	{"B5", func(c *Cures) *bool { return &c.Batch }},
}

// String is their names, such as "B1, B4".
func (c Cures) String() string {
	var names []string
	for _, cure := range cureNames {
		if *cure.of(&c) {
			names = append(names, cure.name)
		}
	}
	switch len(names) {
	case 0:
		return "without B1 to B5"
	case len(cureNames):
		return "with B1 to B5"
	}
	return "with " + strings.Join(names, ", ")
}

// Without returns all cures but those of a list such as "B1,B4".
func Without(list string) (Cures, error) {
	c := All
	for name := range strings.SplitSeq(list, ",") {
		known := list == ""
		for _, cure := range cureNames {
			if strings.EqualFold(name, cure.name) {
				*cure.of(&c), known = false, true
			}
		}
		if !known {
			return c, fmt.Errorf("%q is not one of B1 to B5", name)
		}
	}
	return c, nil
}

// Step is a step of decoding: Tokens sequences, each with Cached tokens and a new one.
type Step struct {
	Config         *model.Config
	Weights        quantize.Recipe
	Cached, Tokens int
	Cures
}

// Most tokens of the kernels.
const (
	decodeTokens = 8
	batchTokens  = 64
	kvChunk      = 128
)

// bits that a weight takes in a GPU's memory. kernels/quants_layout.h describes the quantized ones.
var bits = map[weight.Format]float64{
	weight.BF16: 16, weight.F16: 16, weight.F32: 16,
	weight.Q4_0: 4.5, weight.Q4_1: 5, weight.Q5_0: 5.5, weight.Q5_1: 6, weight.Q8_0: 8.5,
	weight.Q2_K: 2.625, weight.Q3_K: 3.5625, weight.Q4_K: 4.625, weight.Q5_K: 5.625, weight.Q6_K: 6.5625,
	weight.Q8_K: 8.125, weight.IQ4_NL: 4.5, weight.IQ4_XS: 4.3125,
}

// ParseWeights returns the formats that a name such as bf16 or q4_k means.
func ParseWeights(name string) (quantize.Recipe, error) {
	switch strings.ToLower(name) {
	case "bf16":
		return quantize.Recipe{Layers: weight.BF16, Embeddings: weight.BF16}, nil
	case "f16":
		return quantize.Recipe{Layers: weight.F16, Embeddings: weight.F16}, nil
	}
	return quantize.Parse(name)
}

// operation is a kernel launch of a step.
type operation struct {
	name string // as BenchmarkGPU names it, if it does
	// Of a product:
	rows, k int // weight rows, columns
	format  weight.Format
	kernel  string // without the suffix of its weights
	normed  bool   // RMSNorm is part of it
	// Of other operations: work without a product, in µs; attention has its own rule.
	work      float64
	attention bool
}

// layer lists the launches of a layer.
func (s *Step) layer(c *Card) []operation {
	m := s.Config
	f := s.Weights.Layers
	list := s.normed(c, operation{name: "NormLinear qkv", rows: m.QKVRows(), format: f, kernel: "linear"})
	list = append(list, operation{name: "Attend", attention: true},
		operation{
			name: "LinearAdd o", rows: m.HiddenSize, k: m.Heads * m.HeadDim, format: f, kernel: "linear_add",
		})
	list = append(list, s.normed(c, operation{
		name: "NormGateUp", rows: 2 * m.IntermediateSize, format: f, kernel: "gate_up",
	})...)
	return append(list, operation{
		name: "LinearAdd down", rows: m.HiddenSize, k: m.IntermediateSize, format: f, kernel: "linear_add",
	})
}

// head lists the launches after the last layer.
func (s *Step) head(c *Card) []operation {
	list := s.normed(c, operation{
		name: "NormLinear head", rows: s.Config.VocabSize, format: s.Weights.Embeddings, kernel: "linear",
	})
	return append(list, operation{name: "argmax", work: argmax})
}

// normed is a product of normalized tokens: one launch, or two if the tokens do not fit in shared memory.
func (s *Step) normed(c *Card, product operation) []operation {
	product.k = s.Config.HiddenSize
	shared := usualRing + sums + s.Tokens*(product.k+8)*2
	if s.Tokens <= decodeTokens && shared <= c.Shared {
		product.normed, product.kernel = true, "norm_"+product.kernel
		return []operation{product}
	}
	return []operation{{name: "rms_norm", work: norm}, product}
}

// evidence is what nvcc made of the product's kernel, for these tokens and this format.
func (s *Step) evidence(c *Card, o *operation) (evidence, error) {
	phase, variant := "_decode", class(o.format)
	switch {
	case s.Tokens <= decodeTokens:
	case s.Batch:
		phase, variant = "_batch", fmt.Sprintf(", %d tokens", s.batchSize())
	default:
		phase, variant = "_prefill", ""
	}
	kernel := o.kernel + phase + suffix(o.format)
	for _, name := range []string{kernel + variant, kernel} {
		if e, ok := table[c.Arch][name]; ok {
			return e, nil
		}
	}
	return evidence{}, fmt.Errorf("the table of kernels has no %s for %s", kernel+variant, c.Arch)
}

// batchSize is the most tokens of the batch kernels' way through their loop.
func (s *Step) batchSize() int {
	if s.Tokens <= batchTokens/2 {
		return batchTokens / 2
	}
	return batchTokens
}

// class names the row of the table of kernels for a quantized format.
func class(f weight.Format) string {
	switch f {
	case weight.Q2_K:
		return ", 2 bits"
	case weight.Q3_K:
		return ", 3 bits"
	case weight.Q4_0, weight.Q4_1, weight.Q4_K:
		return ", 4 bits"
	case weight.IQ4_NL, weight.IQ4_XS:
		return ", 4 bits by table"
	case weight.Q5_0, weight.Q5_1, weight.Q5_K:
		return ", 5 bits"
	case weight.Q6_K:
		return ", 6 bits"
	case weight.Q8_0, weight.Q8_K:
		return ", 8 bits"
	}
	return ""
}

// suffix ends the names of a format's kernels.
func suffix(f weight.Format) string {
	switch {
	case f == weight.F16, f == weight.F32:
		return "_f16"
	case f.Quantized():
		return "_quantized"
	}
	return "_bf16"
}
