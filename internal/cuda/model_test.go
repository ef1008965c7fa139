//go:build cuda && linux && cgo

package cuda

import (
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/model/backendtest"
)

// openBackend opens the backend and lets a test change it before it is used.
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

// The tests above run on an emulated Hopper, or on whatever GPU there is.
func TestModelsOnAmpere(t *testing.T) {
	emulate(t, "compute=8.0")
	v := backendtest.Variant{Name: "default", Open: openBackend(t, func(*Backend) {})}
	backendtest.RunOtherSums(t, "../../testdata", v, "mini", "f16")
}
