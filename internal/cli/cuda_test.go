//go:build cuda && linux && cgo

package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/kernels/emulator"
)

// cudaEnv gives a command the CUDA backend, on the emulator or, with $PHI3_TEST_GPU=1, on this machine's GPU.
func cudaEnv(t *testing.T) []string {
	t.Helper()
	if onGPU() {
		env := []string{"FAKE_GPU=no"}
		for _, name := range []string{
			"PHI3_LIBCUDA", "PHI3_EMULATOR", "LD_LIBRARY_PATH",
			"CUDA_VISIBLE_DEVICES",
		} {
			if value, ok := os.LookupEnv(name); ok { // a script starts with an empty environment
				env = append(env, name+"="+value)
			}
		}
		return env
	}
	library, err := emulator.Build(emulator.Fast)
	require.NoError(t, err)
	return []string{"FAKE_GPU=no", "PHI3_LIBCUDA=" + library}
}

func onGPU() bool { return os.Getenv("PHI3_TEST_GPU") == "1" }

// TestCUDAScript runs testdata/cuda: the command line on the CUDA backend. The condition [emulator]
// is true where a script can provoke faults.
func TestCUDAScript(t *testing.T) {
	vars := cudaEnv(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/cuda",
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, vars...)
			return os.CopyFS(filepath.Join(env.WorkDir, "model"), demo.FS())
		},
		Condition: func(name string) (bool, error) { return name == "emulator" && !onGPU(), nil },
		Cmds:      commands,
	})
}

// Ctrl-C ends the command between two steps of the GPU.
func TestCUDAInterrupt(t *testing.T) {
	vars := cudaEnv(t)
	for _, command := range []string{
		"generate --device cuda --prompt Hello --ignore-eos -n 1000000",
		"generate --device cuda --prompt Hello --ignore-eos -n 1000000 --no-cache",
	} {
		t.Run(command, func(t *testing.T) {
			require.Contains(t, interrupt(t, command, vars, firstByte), "CUDA")
		})
	}
}
