package export

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/gguf"
	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// checkpoint copies a checkpoint of the project's testdata, with a tokenizer that has a token for each row of
// the embedding table, at least [tokens].
func checkpoint(t *testing.T, folder string, c *model.Config) fs.FS {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("../../testdata", folder))))
	vocab := `{"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 259, "a": 260, "▁a": 261`
	for i := range 256 {
		vocab += fmt.Sprintf(`, "<0x%02X>": %d`, i, 3+i)
	}
	for i := tokens; i < c.VocabSize; i++ {
		vocab += fmt.Sprintf(`, "token%d": %[1]d`, i)
	}
	added := ""
	ids := append([]int32{c.BOS, c.Pad}, c.EOS...)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id >= tokens {
			added += fmt.Sprintf(`, {"id": %d, "content": "token%[1]d", "special": true}`, id)
		}
	}
	json := strings.NewReplacer("VOCAB", vocab+"}", "ADDED", added).Replace(tokenizerJSON)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(json), 0o600))
	name := func(id int32) string {
		if id < 0 || id >= tokens {
			return fmt.Sprintf("token%d", id)
		}
		return []string{"<unk>", "<s>", "</s>"}[id]
	}
	config := fmt.Sprintf(`{"tokenizer_class": "LlamaTokenizer", "bos_token": %q, "eos_token": %q,
		"pad_token": %q}`, name(c.BOS), name(c.EOS[0]), name(c.Pad))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(config), 0o600))
	return os.DirFS(dir)
}

const (
	tokens        = 262
	tokenizerJSON = `{
		"added_tokens": [
			{"id": 0, "content": "<unk>", "special": true},
			{"id": 1, "content": "<s>", "special": true},
			{"id": 2, "content": "</s>", "special": true} ADDED],
		"normalizer": {"type": "Sequence", "normalizers": [
			{"type": "Prepend", "prepend": "▁"},
			{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
		"pre_tokenizer": null,
		"post_processor": null,
		"decoder": {"type": "Sequence", "decoders": [
			{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
			{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
		"model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
			"vocab": VOCAB, "merges": ["▁ a"]}
	}`
)

func ignore(int64, int64) {}

// A file has the configuration and the weights of the checkpoint, whatever its RoPE, heads and head.
func TestRoundTrip(t *testing.T) {
	entries, err := os.ReadDir("../../testdata")
	require.NoError(t, err)
	written := 0
	for _, e := range entries {
		config, err := model.ReadConfig(os.DirFS(filepath.Join("../../testdata", e.Name())))
		if err != nil || config.VocabSize < tokens {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			p, err := NewPlan(checkpoint(t, e.Name(), config), e.Name(), nil)
			if config.Head != model.LMHead {
				require.ErrorContains(t, err, "have only an LM head")
				return
			}
			require.NoError(t, err)
			defer func() { require.NoError(t, p.Close()) }()
			dir := t.TempDir()
			var last int64
			require.NoError(t, p.Write(t.Context(), filepath.Join(dir, "x.gguf"), func(done, total int64) {
				require.Greater(t, done, last)
				require.Equal(t, p.Bytes(), total)
				last = done
			}))
			require.Equal(t, p.Bytes(), last)
			file, err := gguf.Open(os.DirFS(dir), "x.gguf")
			require.NoError(t, err)
			defer func() { require.NoError(t, file.Close()) }()
			got, err := model.Open(file)
			require.NoError(t, err)
			defer func() { require.NoError(t, got.Close()) }()
			want := *p.checkpoint.Config
			want.DType, want.Notes = got.Config.DType, got.Config.Notes
			want.HeadDiffers = got.Config.HeadDiffers
			require.ElementsMatch(t, want.EOS[:min(3, len(want.EOS))], got.Config.EOS)
			want.EOS = got.Config.EOS
			require.Equal(t, want, *got.Config)
			for i, w := range p.Stored {
				g := got.Tensors[i]
				require.Equal(t, w.Float32s(), g.Float32s(), w.Name)
				require.True(t, len(w.Shape) == 1 || g.Format == w.Format && slices.Equal(w.Data, g.Data))
			}
			written++
		})
	}
	require.Greater(t, written, 3)
}

// A file that is stopped, or whose weights cannot be quantized, does not stay. Nothing else does.
func TestStopped(t *testing.T) {
	recipe, err := quantize.Parse("q8_0")
	require.NoError(t, err)
	p, err := NewPlan(demo.FS(), "demo", &recipe)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	dir := t.TempDir()
	path := filepath.Join(dir, "x.gguf")
	require.NoError(t, os.WriteFile(path, []byte("older"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	err = p.Write(ctx, path, func(done, _ int64) {
		if done > 0 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "older", string(data))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)

	require.NoError(t, p.Write(t.Context(), path, ignore))
	quantized, err := gguf.Open(os.DirFS(dir), "x.gguf")
	require.NoError(t, err)
	defer func() { require.NoError(t, quantized.Close()) }()
	_, err = NewPlan(quantized, "again", &recipe)
	require.ErrorContains(t, err, "already quantized, as Q8_0")
}

// Each recipe's file has the types that the plan says, and the bytes that Checkpoint.Data makes.
func TestQuantized(t *testing.T) {
	names := []string{"q8_0", "q4_k", "iq4_nl"}
	if race.Enabled { // the same goroutines quantize for every recipe
		names = names[1:2]
	}
	for _, name := range names {
		recipe, err := quantize.Parse(name)
		require.NoError(t, err)
		p, err := NewPlan(demo.FS(), "demo", &recipe)
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, p.Write(t.Context(), filepath.Join(dir, "x.gguf"), ignore))
		file, err := gguf.Open(os.DirFS(dir), "x.gguf")
		require.NoError(t, err)
		got, err := model.Open(file)
		require.NoError(t, err)
		require.Equal(t, weight.Totals(p.Made), weight.Totals(got.Tensors), name)
		for _, i := range []int{0, 1, 4, len(p.Made) - 1} { // table, o_proj, down_proj, head
			want, err := p.checkpoint.Data(t.Context(), i)
			require.NoError(t, err)
			if len(want.Shape) == 2 {
				require.Equal(t, want.Data, got.Tensors[i].Data, name)
			}
		}
		require.NoError(t, got.Close())
		require.NoError(t, file.Close())
		require.NoError(t, p.Close())
	}
}
