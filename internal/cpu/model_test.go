package cpu

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/backendtest"
	"phi3/internal/model"
	"phi3/internal/race"
)

func TestModels(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		chosen, err := choosePath()
		require.NoError(t, err)
		effort := backendtest.Full
		if chosen != append(nativeKernels(), goKernels)[0] {
			effort = backendtest.Short // what another processor would choose
		}
		with := func(threads int) func(bool) model.Backend {
			return func(float32 bool) model.Backend {
				b, err := New(Options{Threads: threads, Float32: float32})
				require.NoError(t, err)
				return b
			}
		}
		variants := []backendtest.Variant{
			{Name: "two threads", Open: with(2)},
			{Name: "one thread", Open: with(1)},
			{Name: "five threads", Open: with(5)},
		}
		if race.Enabled { // it finds nothing on one thread
			variants = slices.Delete(variants, 1, 2)
		}
		backendtest.Run(t, "../../testdata", variants, effort)
	})
}
