//go:build cuda && linux

package kit

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTimesOfBenchmarks: each figure is recorded once. A benchmark's own time in µs replaces ns/op, which may
// be the time of several launches.
func TestTimesOfBenchmarks(t *testing.T) {
	kit := t.TempDir()
	require.NoError(t, os.MkdirAll(kit+"/internal/cuda", 0o755))
	script := func(name, text string) {
		require.NoError(t, os.WriteFile(kit+"/"+name, []byte("#!/usr/bin/env bash\n"+text), 0o755))
	}
	script("phi3", "echo 'ok  GPU 0  a card, compute capability 9.0'\n")
	script("cuda.test", `[[ $* == *'^BenchmarkGPU$ '* ]] || exit 0
echo 'BenchmarkGPU/copy-2  1  5000 ns/op  8.5 GB/s'
echo 'BenchmarkExperiment/batch/o-2  1  8000 ns/op  30 %copy  60 %read  3 GB/s  2.000 µs'
echo 'BenchmarkExperiment/chain/pdl-2  1  9000 ns/op  4 GB/s  9.000 µs/32layers'
`)
	cmd := exec.Command("bash", "steps.sh", "kernel-times")
	cmd.Env = append(os.Environ(), "KIT="+kit, "FIGURES="+kit+"/figures", "WORK="+kit, "SHORT=", "MODEL=",
		"CHECKPOINT="+kit, "OUTPUT="+kit+"/output")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	figures, err := os.ReadFile(kit + "/figures")
	require.NoError(t, err)
	require.Equal(t, `kernel-times,copy,5,,µs,8.5,,
kernel-times,copy,8.5,,GB/s,8.5,,
kernel-times,Experiment/batch/o,3,,GB/s,3,,
kernel-times,Experiment/batch/o,2.000,,µs,3,,
kernel-times,Experiment/chain/pdl,4,,GB/s,4,,
kernel-times,Experiment/chain/pdl,9.000,,µs/32layers,4,,
`, string(figures))
}
