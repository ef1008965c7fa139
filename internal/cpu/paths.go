package cpu

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"phi3/internal/weight"
)

// kernels are the innermost loops as one kind of processor runs them fastest. Within one set of kernels the
// same inputs give the same bits; two sets add in different orders.
type kernels struct {
	name string

	// linear returns the loops of a matrix product with weights of a type. Inputs are rounded to bfloat16,
	// unless float32 is set.
	linear func(w weight.Format, float32 bool) *linearKernels
	// maxTokens is how many new tokens one step should take at most: more share the reading of weights, which
	// is worth the more, the faster the arithmetic is, but memory grows, and only between two layers can a
	// step be interrupted.
	maxTokens int
	*vectors

	// For [Backend.Probe]: read reads p, whose length is a multiple of 128; compute does as many
	// floating-point operations as it returns, as fast as they go.
	read    func(p []byte)
	compute func() float64
}

// goKernels run everywhere.
var goKernels = &kernels{
	name: "go", linear: always(goLinear), maxTokens: 64,
	vectors: goVectors, read: goRead, compute: goCompute,
}

// pathVariable names the environment variable that forces a path.
const pathVariable = "PHI3_CPU"

// choosePath returns the kernels that $PHI3_CPU names, or the best ones for this processor.
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

// Paths names what this processor can run, the best first, and the one that New takes. The error says why
// $PHI3_CPU is refused.
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

// allLinear are the loops of every matrix product that can come up.
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
