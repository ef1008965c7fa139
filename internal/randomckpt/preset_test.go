package randomckpt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// TestPresets compares each preset with the published model: number of tensors, bytes, files (spec section
// 1).
func TestPresets(t *testing.T) {
	for name, want := range map[string]struct {
		tensors, shards int
		bytes           int64
		files           []int64 // sizes, where the published ones are known
	}{
		"phi-3-mini":   {195, 2, 7_642_159_104, nil},
		"phi-3-medium": {243, 6, 27_920_476_160, nil},
		"phi-4": {
			243, 6, 29_319_014_400,
			[]int64{4933656472, 4954690712, 4902241352, 4771169120, 4771169120, 4986116216},
		},
		"phi-4-mini": {194, 2, 7_672_043_520, nil},
	} {
		t.Run(name, func(t *testing.T) {
			configText, generationText, err := Preset(name)
			require.NoError(t, err)
			cfg, err := model.ParseConfig(configText)
			require.NoError(t, err)
			require.True(t, json.Valid(generationText))

			var tensors int
			var total int64
			var files []int64
			list := shards(cfg.Tensors(), weight.BF16, 5_000_000_000)
			for _, s := range list {
				var sources []safetensors.Entry
				var size int64
				for _, w := range s.tensors {
					sources = append(sources,
						safetensors.Entry{Name: w.Name, Format: weight.BF16, Shape: w.Shape})
					size += elems(w) * 2
				}
				header, err := safetensors.HeaderBytes(sources, metadata)
				require.NoError(t, err)
				tensors += len(sources)
				total += size
				files = append(files, int64(header)+size)
			}
			require.Equal(t, want.tensors, tensors)
			require.Equal(t, want.bytes, total)
			require.Len(t, list, want.shards)
			for i, size := range want.files {
				// another order inside the file changes the digits of its offsets, and so the padding
				require.InDelta(t, size, files[i], 8)
			}
		})
	}
	_, _, err := Preset("phi-5")
	require.EqualError(t, err, `no preset "phi-5"; the presets are phi-3-medium, phi-3-mini, phi-4, phi-4-mini`)
}

// TestPublishedIndex: every tensor goes to the file in which the published checkpoint has it.
func TestPublishedIndex(t *testing.T) {
	data := phi3Data(t)
	for published, name := range map[string]string{
		"Phi-3-mini-128k-instruct": "phi-3-mini",
		"phi-4":                    "phi-4",
	} {
		text, err := os.ReadFile(filepath.Join(data, published, indexFile))
		require.NoError(t, err)
		var index struct {
			WeightMap map[string]string `json:"weight_map"`
		}
		require.NoError(t, json.Unmarshal(text, &index))
		configText, _, err := Preset(name)
		require.NoError(t, err)
		cfg, err := model.ParseConfig(configText)
		require.NoError(t, err)
		got := map[string]string{}
		for _, s := range shards(cfg.Tensors(), weight.BF16, 5_000_000_000) {
			for _, w := range s.tensors {
				got[w.Name] = s.file
			}
		}
		require.Equal(t, index.WeightMap, got)
	}
}

// TestPublishedConfig: a preset's config.json says what the published one says.
func TestPublishedConfig(t *testing.T) {
	data := phi3Data(t)
	for published, name := range map[string]string{
		"Phi-3-mini-4k-instruct": "phi-3-mini", "Phi-3-medium-4k-instruct": "phi-3-medium", "phi-4": "phi-4",
		"Phi-4-mini-instruct": "phi-4-mini",
	} {
		text, err := os.ReadFile(filepath.Join(data, published, "config.json"))
		require.NoError(t, err)
		ours, _, err := Preset(name)
		require.NoError(t, err)
		var want, got map[string]any
		require.NoError(t, json.Unmarshal(text, &want))
		require.NoError(t, json.Unmarshal(ours, &got))
		for key, value := range got {
			if published, ok := want[key]; ok {
				require.Equal(t, published, value, "%s: %s", name, key)
			}
		}
	}
}

// phi3Data finds the folder of published files: $PHI3_DATA, or shared/phi3-data beside or above the project.
func phi3Data(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PHI3_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		found := filepath.Join(dir, "shared", "phi3-data")
		if _, err := os.Stat(found); err == nil {
			return found
		}
	}
	t.Skip("the published config and index files are not here; set PHI3_DATA to their folder")
	return ""
}
