// Package backendtest is the test that every backend must pass. It compares whole models with Hugging
// Face's numbers, and it checks that logits depend on the token ids alone, bit for bit. Each backend's
// own test file calls [Run].
package backendtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/race"
)

// Variant is a way to run a backend that must not change its results, such as a number of threads.
type Variant struct {
	Name string
	Open func(float32 bool) model.Backend // float32: round nothing
}

// Effort is how much a test may compute on a backend.
type Effort int

// The efforts. Both go through every checkpoint and every comparison.
const (
	Full Effort = iota
	// fewer lengths and repetitions, for what is many times slower than a processor: an emulator, the race
	// detector
	Short
)

// of picks a number.
func (e Effort) of(full, short int) int {
	if e == Short {
		return short
	}
	return full
}

// Run compares the first variant of a backend with the goldens in testdata, and the other variants with
// the first.
func Run(t *testing.T, testdata string, variants []Variant, effort Effort) {
	goldens := Goldens(t, testdata)
	if race.Enabled { // a race shows on two checkpoints as well as on all
		goldens = map[string]*Golden{"mini": goldens["mini"], "partial": goldens["partial"]}
		effort = Short
	}
	for name, g := range goldens {
		t.Run("float32/"+name, func(t *testing.T) { testFloat32(t, g, variants[0], effort) })
		t.Run("bits/"+name, func(t *testing.T) { testBits(t, g, variants, effort) })
	}
	t.Run("bfloat16", func(t *testing.T) { testBFloat16(t, goldens, variants[0]) })
	t.Run("inside", func(t *testing.T) { testInside(t, testdata, variants[0]) })
	t.Run("positions", func(t *testing.T) { testPositions(t, testdata, variants[0]) })
	t.Run("argmax", func(t *testing.T) { testArgmax(t, goldens["mini"], variants[0]) })
	t.Run("quantized", func(t *testing.T) { testQuantized(t, variants, effort) })
}

// RunOtherSums tests a variant of a backend that only adds in another order, such as an emulated GPU of
// another generation. It checks the distances of every checkpoint, and the bits of the named ones.
func RunOtherSums(t *testing.T, testdata string, v Variant, names ...string) {
	goldens := Goldens(t, testdata)
	for _, name := range names {
		t.Run("bits/"+name, func(t *testing.T) { testBits(t, goldens[name], []Variant{v}, Short) })
	}
	t.Run("bfloat16", func(t *testing.T) { testBFloat16(t, goldens, v) })
}

// RunBits tests a checkpoint without a golden, such as one with random weights: the bits, and that the
// logits are near those of the path that rounds nothing.
func RunBits(t *testing.T, dir string, v Variant) {
	g := &Golden{Dir: dir}
	testBits(t, g, []Variant{v}, Short)
	m, exact := load(t, g, v, false, 0), load(t, g, v, true, 0)
	ids := randomIDs(m, kvcache.BlockTokens+9)
	require.Less(t, Distance(everyLogits(t, m, ids)[1:], everyLogits(t, exact, ids)[1:]), 0.02)
}

// load opens a model that is closed at the end of the test.
func load(t testing.TB, g *Golden, v Variant, float32 bool, maxTokens int) *model.Model {
	t.Helper()
	const room = 2048 // tokens of KV cache: for a batch, more than one sequence of the model's own context
	m, err := model.Load(context.Background(), g.FS(), v.Open(float32),
		model.Options{MaxTokens: maxTokens, Context: room, WideWindow: g.WideWindow})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	require.Empty(t, m.Unused)
	return m
}
