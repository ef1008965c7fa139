//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMutantsApply: the text that a mutant replaces is in its file once. The tests that plant the mutants say
// so too, but take minutes.
func TestMutantsApply(t *testing.T) {
	if onGPU {
		t.Skip("for the emulator")
	}
	once := func(name, file, old string) {
		text, err := os.ReadFile("../../kernels/" + file)
		require.NoError(t, err)
		require.Equal(t, 1, bytes.Count(text, []byte(old)), "%s: %q in %s", name, old, file)
	}
	for _, m := range allMutants() {
		once(m.name, m.file, m.old)
	}
	for _, m := range experimentMutants {
		once(m.name, "experiments/"+m.file, m.old)
	}
	for _, m := range selfTestMutants {
		once(m.name, m.file, m.old)
	}
	for _, m := range arithmeticMutants {
		once(m.name, "emulator/src/mma.cc", m.old)
	}
}
