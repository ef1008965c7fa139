//go:build amd64 || arm64

package cpu

import (
	"hash/fnv"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// AVX2 and NEON add in the same order: some products have the same bits, whose hashes are these.
func TestLanes8SameBits(t *testing.T) {
	i := slices.IndexFunc(nativeKernels(),
		func(k *kernels) bool { return k.name == "avx2" || k.name == "neon" })
	if i < 0 {
		t.Skip("this processor or operating system has no AVX2")
	}
	t.Setenv(pathVariable, nativeKernels()[i].name)
	const k, cols, tokens = 1056 + 3, 47, 13
	for format, want := range map[weight.Format]uint64{
		weight.BF16: 0x3ced8b6befb407be, weight.F16: 0xb1212492440709be, weight.F32: 0x122c858790c0df7,
	} {
		rng := rand.New(rand.NewSource(1))
		b := newBackend(t, Options{Threads: 2},
			&model.Config{HiddenSize: k, IntermediateSize: cols, Heads: 1, KVHeads: 1}, tokens, 0)
		data, _ := stored(format, normals(rng, cols*k))
		w, err := b.Upload(&weight.Tensor{Name: "w", Format: format, Shape: []int{cols, k}, Data: data})
		require.NoError(t, err)
		out := make([]float32, tokens*cols)
		b.product(out, cols, input{x: normals(rng, tokens*k)}, w, store)
		hash := fnv.New64a()
		for _, v := range out {
			bits := math.Float32bits(v)
			_, _ = hash.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		}
		require.Equal(t, want, hash.Sum64(), format)
	}
}

// The groups of the loops with lanes have a place for every token, and almost no empty place.
func TestLaneGroups(t *testing.T) {
	for tokens := 1; tokens <= 600; tokens++ {
		groups := laneGroups(tokens)
		places := groups.places()
		require.GreaterOrEqual(t, places, tokens)
		if tokens > 2 {
			require.LessOrEqual(t, places, tokens+1)
		}
		require.Less(t, groups.first(groups.count()-1), tokens, "the last group has a token")
	}
}
