package export

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/gguf"
	"phi3/internal/model"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// The metadata that phi3 writes for each published checkpoint gives its configuration back, field by field,
// with the list of the ids that end an answer.
func TestPublishedConfigs(t *testing.T) {
	race.SkipAlone(t)
	const mini = "../../../shared/phi3-data/Phi-3-mini-4k-instruct"
	configs, err := filepath.Glob("../../../shared/phi3-data/*/config*.json")
	require.NoError(t, err)
	if len(configs) == 0 {
		t.Skip("the published configurations are not beside the project")
	}
	for _, path := range configs {
		dir := filepath.Dir(path)
		tokenizer := filepath.Join(dir, "tokenizer.assembled.json") // of the Phi-4 family
		if _, err := os.Stat(tokenizer); err != nil {
			dir, tokenizer = mini, filepath.Join(mini, "tokenizer.json")
		}
		fsys := fstest.MapFS{}
		for name, from := range map[string]string{
			"config.json": path, "tokenizer.json": tokenizer,
			"generation_config.json": filepath.Join(filepath.Dir(path), "generation_config.json"),
			"tokenizer_config.json":  filepath.Join(dir, "tokenizer_config.json"),
		} {
			if text, err := os.ReadFile(from); err == nil {
				fsys[name] = &fstest.MapFile{Data: text}
			}
		}
		want, err := model.ReadConfig(fsys)
		require.NoError(t, err, path)

		p := &Plan{checkpoint: &model.Checkpoint{Config: want}}
		p.Made = []*weight.Tensor{{Format: weight.BF16, Shape: []int{1, 1}}}
		require.NoError(t, p.describe(fsys, "a model"), path)
		entries := slices.Clone(p.factors)
		for name, rows := range map[string]int{"token_embd.weight": want.VocabSize, "output.weight": 0} {
			if name == "output.weight" && want.TiedEmbeddings {
				continue
			}
			entries = append(entries, gguf.Entry{
				Name: name, Format: weight.F32, Shape: []int{rows, 1},
				WriteTo: func(w io.Writer) error {
					_, err := w.Write(make([]byte, 4*rows))
					return err
				},
			})
		}
		var file bytes.Buffer
		require.NoError(t, gguf.Write(&file, p.metadata, entries))
		c, err := gguf.Open(fstest.MapFS{"a.gguf": {Data: file.Bytes()}}, "a.gguf")
		require.NoError(t, err, path)
		got, err := model.ReadConfig(c)
		require.NoError(t, err, path)
		require.Subset(t, got.EOS, want.EOS, path) // the order differs, and <|end|> and others are there too
		got.EOS = want.EOS
		require.Equal(t, want, got, path)
		require.NoError(t, c.Close())
	}
}
