package gguf_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/gguf"
	"phi3/internal/model"
)

// A file that llama.cpp's converter has made of a checkpoint has its configuration, field by field, and gives
// its logits, byte for byte.
func TestModelOfLlamaCpp(t *testing.T) {
	for _, file := range []struct{ name, kind string }{
		{"mini", "bf16"}, {"mini", "f32"}, {"longrope", "bf16"}, {"partial", "bf16"},
	} {
		t.Run(file.name+"-"+file.kind, func(t *testing.T) {
			dir := os.DirFS("../../testdata/" + file.name)
			c := gguf.OpenBytes(t, gguf.Rebuilt(t, file.name, file.kind))
			want, err := model.ReadConfig(dir)
			require.NoError(t, err)
			got, err := model.ReadConfig(c)
			require.NoError(t, err)
			if file.kind == "f32" {
				want.DType = "float32"
			}
			require.Equal(t, []int32{want.EOS[0]}, got.EOS, "the file has room for one")
			got.EOS = want.EOS
			require.Equal(t, want, got)

			ids := make([]int32, 40)
			for i := range ids {
				ids[i] = int32(i * 7 % want.VocabSize)
			}
			if file.kind == "bf16" { // products with float32 weights have another order
				require.Equal(t, logits(t, dir, ids), logits(t, c, ids))
			}
			require.NoError(t, c.Close())
		})
	}
}

// logits computes the logits of every token, as bits.
func logits(t *testing.T, fsys fs.FS, ids []int32) (bits []uint32) {
	t.Helper()
	b, err := cpu.New(cpu.Options{})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), fsys, b, model.Options{MaxTokens: len(ids), Context: len(ids)})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	cache := m.NewCache()
	_, err = cache.Prepare(len(ids))
	require.NoError(t, err)
	out := model.Output{AllLogits: true}
	require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: ids, Cache: cache}}, &out))
	for _, x := range out.Logits {
		bits = append(bits, math.Float32bits(x))
	}
	require.NotZero(t, slices.Max(bits))
	return bits
}

// Every published config.json gives the same configuration after llama.cpp's converter has made metadata of
// it. Only the list of the ids that end an answer is lost.
func TestPublishedConfigs(t *testing.T) {
	const data = "../../../shared/phi3-data"
	files, err := filepath.Glob("testdata/llamacpp/config-*.gguf")
	require.NoError(t, err)
	require.Len(t, files, 7)
	if _, err := os.Stat(data); err != nil {
		t.Skip("the published configurations are not beside the project:", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "config-"), ".gguf")
		dir, config := name, "config.json"
		if short, ok := strings.CutSuffix(name, "-2024-07"); ok {
			dir, config = short, "config.2024-07.json"
		}
		text, err := os.ReadFile(filepath.Join(data, dir, config))
		require.NoError(t, err)
		want, err := model.ReadConfig(fstest.MapFS{"config.json": {Data: text}})
		require.NoError(t, err)

		made, err := os.ReadFile(file)
		require.NoError(t, err)
		c := gguf.OpenBytes(t, append(made, make([]byte, 1<<20)...))
		got, err := model.ReadConfig(c)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
		require.NoError(t, c.Close())
	}
}

// An error of the configuration or of a shape names the GGUF file and the key that is wrong there: the user
// has no config.json.
func TestErrorsNameKeys(t *testing.T) {
	for key, test := range map[string]struct {
		bits uint32
		want string
	}{
		"block_count":    {4097, "model.gguf: phi3.block_count is 4097, more than 4096"},
		"context_length": {0, "model.gguf: phi3.context_length is 0, not in 1 …"},
		"attention.head_count": {
			1, "model.gguf: phi3.attention.head_count (1) is not a multiple of " +
				"phi3.attention.head_count_kv (2)",
		},
		"rope.freq_base": {0, "model.gguf: phi3.rope.freq_base is 0, not a number from 1 up"},
		"attention.layer_norm_rms_epsilon": {
			math.Float32bits(-1), "model.gguf: phi3.attention.layer_norm_rms_epsilon is -1, not a number " +
				"from",
		},
		"feed_forward_length": {1, "the metadata asks for [2 "},
	} {
		file := gguf.Rebuilt(t, "mini", "bf16")
		key = "phi3." + key
		at := bytes.Index(file, append(binary.LittleEndian.AppendUint64(nil, uint64(len(key))), key...))
		require.Positive(t, at, key)
		binary.LittleEndian.PutUint32(file[at+8+len(key)+4:], test.bits)
		if c, err := gguf.Open(fstest.MapFS{"model.gguf": {Data: file}}, "model.gguf"); err == nil {
			_, err = model.Open(c)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "config.json")
			require.NoError(t, c.Close())
		} else {
			require.ErrorContains(t, err, test.want)
		}
	}
}
