package cpu

import (
	"fmt"
	"os"
	"strings"
)

// kernels are the innermost loops as one kind of processor runs them fastest. Within one set of kernels the same inputs give the
// same bits; two sets add in different orders.
type kernels struct {
	name string

	tileRows int  // rows of a tile, even
	packs    bool // dots reads the packed form of several tokens
	// dots sets sums [tokens, tileRows] to the products of a tile's rows with every row of x.
	dots func(sums []float32, t *tile, x *input, s *scratch)
	// attend attends with one query q [dim] to the keys and values from … to-1 of a chunk [chunk, dim]: it sets sum [dim] to
	// Σ exp(score - m)·v and returns the largest score m and Σ exp(score - m). scores has room for chunk values.
	attend func(sum, q []float32, keys, vals kvRows, from, to int, scale float32, scores []float32) (m, l float32)
	// fetch, if there is one, starts the way of a chunk's first keys or values from memory into a cache.
	fetch func(rows kvRows, dim int)
	// widenKV: attend reads float32 only. Otherwise it takes keys and values as they are kept.
	widenKV bool
	// gate sets y = SiLU(gate)·up.
	gate func(y, gate, up []float32)

	// For [Backend.Probe]: read reads p, whose length is a multiple of 128; compute does as many floating-point operations as it
	// returns, as fast as they go.
	read    func(p []byte)
	compute func() float64
}

// goKernels run everywhere.
var goKernels = &kernels{
	name: "go", tileRows: goTileRows, dots: goDots, attend: goAttend, widenKV: true, gate: goGate, read: goRead, compute: goCompute,
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
	return nil, fmt.Errorf("$%s is %q; this processor can run: %s", pathVariable, forced, strings.Join(names, ", "))
}

// Paths names what this processor can run, the best first, and the one that New takes. The error says why $PHI3_CPU is refused.
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
