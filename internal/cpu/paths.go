package cpu

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"phi3/internal/weight"
)

// kernels are a path: one version of the innermost loops. Within a path the same inputs give the same bits;
// two paths add in different orders.
type kernels struct {
	name string

	// linear returns the loops of a matrix product with weights of a format. Inputs have been rounded to
	// bfloat16 unless float32 is set.
	linear func(w weight.Format, float32 bool) *linearKernels
	// maxTokens is how many new tokens a step should have at most. With more tokens, more of them share each
	// reading of the weights, which matters most if arithmetic is fast. But memory grows, and a step can be
	// interrupted only between two layers.
	maxTokens int
	// unpackers are for formats of quantized weights. The other formats are unpacked in Go.
	unpackers map[weight.Format]unpacker
	*vectors

	// For [Backend.Probe]. read reads p, whose length is a multiple of 128. compute executes floating-point
	// operations as fast as possible and returns their number.
	read    func(p []byte)
	compute func() float64
}

// goKernels are the path in plain Go, which runs everywhere.
var goKernels = &kernels{
	name: "go", linear: always(goLinear), maxTokens: 64,
	vectors: goVectors, read: goRead, compute: goCompute,
}

// pathVariable is the name of the environment variable that forces a path.
const pathVariable = "PHI3_CPU"

// choosePath returns the path that $PHI3_CPU names, or the best path for this processor.
func choosePath() (*kernels, error) {
	paths := append(nativeKernels(), goKernels) // the best first
	forced := os.Getenv(pathVariable)
	if forced == "" {
		return paths[0], nil
	}
	var names []string
	for _, p := range paths {
		if p.name == forced {
			return p, nil
		}
		names = append(names, p.name)
	}
	return nil, fmt.Errorf("$%s is %q; this processor can run: %s", pathVariable, forced,
		strings.Join(names, ", "))
}

// Paths returns the names of the paths that this processor can run, the best first, and the path that New
// chooses. The error says why $PHI3_CPU is refused.
func Paths() (names []string, chosen string, err error) {
	for _, k := range append(nativeKernels(), goKernels) {
		names = append(names, k.name)
	}
	k, err := choosePath()
	if err != nil {
		return names, "", err
	}
	return names, k.name, nil
}

// allLinear returns the loops of all matrix products that a path may compute.
func (k *kernels) allLinear() []*linearKernels {
	var all []*linearKernels
	for _, w := range []weight.Format{weight.BF16, weight.F16, weight.F32} {
		for _, float32 := range []bool{false, true} {
			if l := k.linear(w, float32); !slices.Contains(all, l) {
				all = append(all, l)
			}
		}
	}
	return all
}
