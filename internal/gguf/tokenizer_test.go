package gguf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
	"phi3/internal/tokenizer"
)

const demoDir = "../demo/checkpoint"

// phi3Data finds the folder with real tokenizers, which is not part of the repository.
func phi3Data(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("PHI3_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	require.NoError(t, err)
	for dir != filepath.Dir(dir) {
		data := filepath.Join(dir, "shared", "phi3-data")
		if _, err := os.Stat(data); err == nil {
			return data
		}
		dir = filepath.Dir(dir)
	}
	t.Skip("no real tokenizers here: set PHI3_DATA to a folder that holds tokenizer_golden.json")
	return ""
}

// realDirectory is the directory of a real checkpoint without its weights. What a Phi-3 lacks in the data is
// the same as in Phi-3-mini-4k-instruct.
func realDirectory(t testing.TB, name string) fs.FS {
	t.Helper()
	folders := []string{name}
	if strings.HasPrefix(name, "Phi-3") {
		folders = []string{"Phi-3-mini-4k-instruct", name}
	}
	fsys := fstest.MapFS{}
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(phi3Data(t), folder))
		require.NoError(t, err)
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(phi3Data(t), folder, e.Name()))
			require.NoError(t, err)
			fsys[strings.Replace(e.Name(), ".assembled", "", 1)] = &fstest.MapFile{Data: data}
		}
	}
	return fsys
}

// vocabSize is config.json's.
func vocabSize(t testing.TB, fsys fs.FS) int {
	raw, err := fs.ReadFile(fsys, "config.json")
	require.NoError(t, err)
	var config struct {
		VocabSize int `json:"vocab_size"`
	}
	require.NoError(t, json.Unmarshal(raw, &config))
	return config.VocabSize
}

// withMetadata is a checkpoint with nothing but these keys.
func withMetadata(t testing.TB, metadata []KV) *Checkpoint {
	t.Helper()
	c, err := (&tokenizerWriter{metadata: metadata}).checkpoint()
	require.NoError(t, err)
	return c
}

// throughGGUF is the tokenizer of a directory, and the same after writing and reading its metadata.
func throughGGUF(t testing.TB, fsys fs.FS, vocabSize int) (before, after *tokenizer.Tokenizer) {
	t.Helper()
	before, err := tokenizer.Load(fsys)
	require.NoError(t, err)
	metadata, err := TokenizerMetadata(fsys, vocabSize)
	require.NoError(t, err)
	after, err = tokenizer.Load(withMetadata(t, metadata))
	require.NoError(t, err)
	return before, after
}

// A tokenizer gives the same ids, texts and chats after it was written to a GGUF file and read again.
func TestTokenizerRoundTrip(t *testing.T) {
	race.SkipAlone(t)
	sources := map[string]func(t testing.TB) (fs.FS, int){
		"demo": func(testing.TB) (fs.FS, int) { return os.DirFS(demoDir), 2560 },
	}
	for name, config := range map[string]string{ // with unusual flags of added tokens
		"spm":    `{"tokenizer_class": "LlamaTokenizer", "add_eos_token": true}`,
		"cl100k": `{}`, "o200k": `{}`,
	} {
		sources[name] = func(t testing.TB) (fs.FS, int) {
			raw, err := os.ReadFile("../tokenizer/testdata/" + name + ".json")
			require.NoError(t, err)
			return fstest.MapFS{
				"tokenizer.json":        {Data: raw},
				"tokenizer_config.json": {Data: []byte(config)},
			}, 700
		}
	}
	for _, name := range []string{
		"Phi-3-mini-4k-instruct", "Phi-3-mini-128k-instruct", "Phi-3-mini-128k-instruct-april2024",
		"Phi-3.5-mini-instruct", "Phi-3-medium-4k-instruct", "Phi-3-vision-128k-instruct", "phi-4",
		"Phi-4-mini-instruct",
	} {
		sources[name] = func(t testing.TB) (fs.FS, int) {
			fsys := realDirectory(t, name)
			return fsys, vocabSize(t, fsys)
		}
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			fsys, size := source(t)
			before, after := throughGGUF(t, fsys, size)
			require.NoError(t, before.Difference(after))
			compare(t, before, after)
		})
	}
}

// compare compares two tokenizers on random texts and ids, and on a chat.
func compare(t *testing.T, a, b *tokenizer.Tokenizer) {
	t.Helper()
	ctx := context.Background()
	require.Equal(t, a.VocabSize(), b.VocabSize())
	r := rand.New(rand.NewSource(1))
	for range 400 {
		text := randomText(r, a)
		for _, options := range []tokenizer.EncodeOptions{{}, {NoBOS: true, SpecialAsText: true}} {
			want, err := a.Encode(ctx, text, options)
			require.NoError(t, err)
			got, err := b.Encode(ctx, text, options)
			require.NoError(t, err)
			require.Equal(t, want, got, "%q", text)
		}
		ids := make([]int32, r.Intn(20))
		for i := range ids {
			ids[i] = int32(r.Intn(a.VocabSize() + 10))
		}
		require.Equal(t, a.Decode(ids, true), b.Decode(ids, true), "%v", ids)
		require.Equal(t, a.Decode(ids, false), b.Decode(ids, false), "%v", ids)
	}
	chat := []tokenizer.Message{
		{Role: "user", Content: "Hi <|end|>\n there"},
		{Role: "assistant", Content: "Ho"},
	}
	for _, open := range []bool{true, false} {
		want, wantErr := a.ApplyChatTemplate(ctx, chat, open)
		got, err := b.ApplyChatTemplate(ctx, chat, open)
		require.Equal(t, want, got)
		require.Equal(t, wantErr, err)
	}
}

// randomText is made of pieces of the vocabulary, white space, and characters that are not in it.
func randomText(r *rand.Rand, tok *tokenizer.Tokenizer) string {
	var b strings.Builder
	for range r.Intn(30) {
		switch r.Intn(6) {
		case 0:
			runs := []string{" ", "\n", "\t", "-", "=", "a", "\u00a0", "'"}
			b.WriteString(strings.Repeat(runs[r.Intn(len(runs))], 1+r.Intn(9)))
		case 1:
			b.WriteRune(rune(r.Intn(0x3000)))
		case 2:
			rare := []string{"<|end|>", "</s>", "<s>", "<|user|>", "<|im_sep|>", "<|tool|>", "日本", "🙂"}
			b.WriteString(rare[r.Intn(len(rare))])
		default:
			b.WriteString(strings.ReplaceAll(tok.Piece(int32(r.Intn(tok.VocabSize()))), "▁", " "))
		}
	}
	return b.String()
}

// TestTokenizerLikeLlamaCpp compares what is written with what llama.cpp's converter writes, by the SHA-256
// of each key's bytes. Because these are equal, every other test here is one of llama.cpp's files too.
func TestTokenizerLikeLlamaCpp(t *testing.T) {
	race.SkipAlone(t)
	raw, err := os.ReadFile("testdata/tokenizer_keys.json")
	require.NoError(t, err)
	var want map[string]map[string]string
	require.NoError(t, json.Unmarshal(raw, &want))
	require.Len(t, want, 7)
	for name, keys := range want {
		t.Run(name, func(t *testing.T) {
			fsys := realDirectory(t, name)
			metadata, err := TokenizerMetadata(fsys, vocabSize(t, fsys))
			require.NoError(t, err)
			got := map[string]string{}
			for _, kv := range metadata {
				var b bytes.Buffer
				require.NoError(t, putValue(&b, kv.Value))
				sum := sha256.Sum256(b.Bytes())
				got[kv.Key] = hex.EncodeToString(sum[:])
			}
			require.Equal(t, keys, got)
		})
	}
}
