package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/info"

	"phi3/internal/model"
)

// info reads no weights. The test describes a checkpoint of Phi-3-mini's size, whose file is sparse after the
// header, and measures memory.
func TestInfoReadsNoWeights(t *testing.T) {
	// transformers' defaults are Phi-3-mini-4k
	config, err := model.ParseConfig([]byte(`{"model_type": "phi3"}`))
	require.NoError(t, err)
	header := map[string]any{}
	end := 0
	for _, spec := range config.Tensors() {
		size := 2
		for _, n := range spec.Shape {
			size *= n
		}
		header[spec.Name] = map[string]any{
			"dtype": "BF16", "shape": spec.Shape,
			"data_offsets": []int{end, end + size},
		}
		end += size
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "phi3"}`),
		0o600))
	file := filepath.Join(dir, "model.safetensors")
	require.NoError(t, os.WriteFile(file,
		append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), 0o600))
	require.NoError(t, os.Truncate(file, int64(8+len(text)+end)))

	before := residentMemory(t)
	var out bytes.Buffer
	require.Zero(t, Main([]string{"info", "--model", dir, "--json"}, strings.NewReader(""), &out, io.Discard))
	require.Less(t, residentMemory(t)-before, 10_000, "kB")
	var answer info.Checkpoint
	require.NoError(t, json.Unmarshal(out.Bytes(), &answer))
	require.Equal(t, int64(3_821_079_552), answer.Parameters)
	require.Equal(t, int64(7_642_159_104), answer.WeightBytes)
	require.Equal(t, int64(7_642_159_104), answer.Memory.Devices[0].Weights)
	require.Equal(t, int64(393_216)*4096, answer.Memory.Devices[0].KV)
	require.Equal(t, "cuda", answer.Memory.Devices[1].Device)
	require.Empty(t, answer.Memory.Devices[1].Refused)
}

// residentMemory returns the peak memory of this process in kB, with pages of mapped files.
func residentMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		var kB int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kB); n == 1 {
			return kB
		}
	}
	t.Skip("this system does not tell how much memory a process has had")
	return 0
}
