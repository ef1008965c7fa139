//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/backendtest"
	"phi3/internal/model"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// openBackend opens the backend and calls change with it.
func openBackend(t testing.TB, change func(b *Backend)) func(float32 bool) model.Backend {
	return func(float32 bool) model.Backend {
		b, err := Open(Options{Float32: float32})
		require.NoError(t, err)
		change(b.(*Backend))
		return b
	}
}

func TestModels(t *testing.T) {
	effort := backendtest.Short
	if !small() {
		effort = backendtest.Full
	}
	backendtest.Run(t, "../../testdata", []backendtest.Variant{
		{Name: "default", Open: openBackend(t, func(*Backend) {})},
		{Name: "one multiprocessor", Open: openBackend(t, func(b *Backend) { b.device.multiprocessors = 1 })},
		{Name: "little shared memory", Open: openBackend(t, func(b *Backend) { b.kernels.maxShared = 0 })},
	}, effort)
}

// TestModels runs on an emulated Hopper, or on a GPU. This test runs on an emulated Ampere.
func TestModelsOnAmpere(t *testing.T) {
	emulate(t, "compute=8.0")
	v := backendtest.Variant{Name: "default", Open: openBackend(t, func(*Backend) {})}
	backendtest.RunOtherSums(t, "../../testdata", v, "mini", "f16")
}

// randomModel is a checkpoint with random weights. more is keys to add to the configuration.
func randomModel(t *testing.T, more string, dtype weight.Format) (dir string) {
	dir = t.TempDir()
	require.NoError(t, randomckpt.Write(context.Background(), randomckpt.Options{
		Dir: dir, Format: dtype, Seed: 1, ShardBytes: 1 << 30,
		Config: []byte(`{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "vocab_size": 96,
			"hidden_size": 128, "intermediate_size": 72, "eos_token_id": null, "bos_token_id": 1,
			"hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 400,
			"original_max_position_embeddings": 400, ` + more + `}`),
	}))
	return dir
}

// Whole models, with heads of the widths that no golden has.
func TestModelsOfOtherHeads(t *testing.T) {
	for headDim, more := range map[int]string{
		64: `"num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2`,
		80: `"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
			"partial_rotary_factor": 0.5`,
		256: `"num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1,
			"sliding_window": 100`,
	} {
		t.Run(fmt.Sprint(headDim), func(t *testing.T) {
			dir := randomModel(t, fmt.Sprintf(`"head_dim": %d, %s`, headDim, more), weight.BF16)
			backendtest.RunBits(t, dir, backendtest.Variant{Open: openBackend(t, func(*Backend) {})})
		})
	}
}

// In float32 a key head may have any number of query heads.
func TestManyQueryHeadsInFloat32(t *testing.T) {
	dir := randomModel(t, `"num_hidden_layers": 1, "num_attention_heads": 129, "num_key_value_heads": 1,
		"head_dim": 6`, weight.BF16)
	m, err := loadOn(openTest(t, Options{Float32: true}), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	ids := []int32{1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7}
	require.Equal(t, backendtest.Forward(t, m, ids, 11), backendtest.Forward(t, m, ids, 2))
}
