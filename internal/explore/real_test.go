package explore

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/tokenizer"
)

// phi3Data finds the folder with real tokenizers: $PHI3_DATA, or shared/phi3-data beside any parent
// directory. It is not part of the repository; tests that need it skip without it.
func phi3Data(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PHI3_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		data := filepath.Join(dir, "shared", "phi3-data")
		if _, err := os.Stat(data); err == nil {
			return data
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skip("no real tokenizers here: set PHI3_DATA to a folder with the files of Phi-3's checkpoints")
		}
		dir = parent
	}
}

// realFiles are the files of a checkpoint that the tokenizer reads.
func realFiles(t *testing.T, dir string) fstest.MapFS {
	files := fstest.MapFS{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		name := entry.Name()
		if !strings.Contains(name, "token") && !strings.Contains(name, "template") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[strings.Replace(name, ".assembled", "", 1)] = &fstest.MapFile{Data: data}
	}
	return files
}

// The bytes of a text's tokens are the text's bytes, whatever it has in it. The page shows the pieces of a
// text by them.
func TestBytesOfRealTokenizers(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(phi3Data(t), "*", "tokenizer*.json"))
	require.NoError(t, err)
	tried := 0
	for _, path := range folders {
		if name := filepath.Base(path); name != "tokenizer.json" && name != "tokenizer.assembled.json" {
			continue
		}
		tried++
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			tok, err := tokenizer.Load(realFiles(t, filepath.Dir(path)))
			require.NoError(t, err)
			e := newParser(t)
			config := *e.Config
			config.VocabSize = 1 << 20
			e.Codec.Tokenizer, e.Config, e.Context = tok, &config, 4096
			for _, text := range []string{
				"The capital of Germany is", "  two blanks,\ttabs\r\n and  more \n\n",
				"德国的首都是柏林。", "日本語 한국어 ไทย",
				"👩🏽‍🚀🏳️‍🌈 e\u0301 \u0301", "𓀀 \U0010FFFF", "\x00\x01\x1b[31m\u0085\x7f",
				"שלום \u202eabc\u202c \u200f\u2066",
				"<script>alert(1)</script> & \"'", "\ufffd \ufeff \u200b", strings.Repeat("ab ", 200),
			} {
				plain := e.tokenize(t, map[string]any{"text": text})
				require.Equal(t, text, plain.Text)
				joined := joinedBytes(t, plain)
				require.Contains(t, []string{text, " " + text}, joined, "%q", text)

				// A template may trim a message, and the tokenizer drops and adds white space beside special
				// tokens.
				if !tok.HasChatTemplate() {
					continue
				}
				chat := e.tokenize(t, map[string]any{"text": text, "chat": true})
				require.Contains(t, chat.Text, strings.TrimSpace(text))
				require.Equal(t, withoutBlanks(chat.Text), withoutBlanks(joinedBytes(t, chat)), "%q", text)
			}
		})
	}
	require.Positive(t, tried, "the folder has no tokenizer")
}

// joinedBytes are the bytes of the tokens but for a BOS that is not in the text.
func joinedBytes(t *testing.T, tokens Tokens) string {
	t.Helper()
	all := tokens.Tokens
	if first := all[0]; first.Special && !strings.HasPrefix(tokens.Text, first.Piece) {
		all = all[1:]
	}
	var joined strings.Builder
	for _, token := range all {
		bytes, err := hex.DecodeString(token.Bytes)
		require.NoError(t, err)
		joined.Write(bytes)
		if token.Special {
			require.Equal(t, token.Piece, strings.TrimSpace(string(bytes)))
		}
	}
	return joined.String()
}

func withoutBlanks(text string) string { return strings.NewReplacer(" ", "", "\n", "").Replace(text) }
