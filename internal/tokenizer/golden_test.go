package tokenizer

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// phi3Data finds the folder with real tokenizers: $PHI3_DATA, or shared/phi3-data beside any parent directory. It is not part of
// the repository; tests that need it skip without it.
func phi3Data(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("PHI3_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if data := filepath.Join(dir, "shared", "phi3-data"); isDir(data) {
			return data
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skip("no real tokenizers here: set PHI3_DATA to a folder that holds tokenizer_golden.json")
		}
		dir = parent
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// onlyTokenizerJSON is a directory with nothing but the given file as tokenizer.json, as the goldens were made.
func onlyTokenizerJSON(t testing.TB, path string) fs.FS {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return fstest.MapFS{"tokenizer.json": {Data: raw}}
}

type golden struct {
	Tokenizer          string  `json:"tokenizer"`
	Text               string  `json:"text"`
	IDs                []int32 `json:"ids"`
	AddSpecialTokens   bool    `json:"add_special_tokens"`
	Decoded            string  `json:"decoded"`
	DecodedSkipSpecial string  `json:"decoded_skip_special"`
	// Of the streaming goldens only:
	Pieces []string `json:"pieces"`
	Flush  string   `json:"flush"`
}

func readGolden(t testing.TB, path string) []golden {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var cases []golden
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	return cases
}

// checkGolden compares encoding and both kinds of decoding with Hugging Face's.
func checkGolden(t *testing.T, tok *Tokenizer, g golden) {
	t.Helper()
	ids, err := tok.Encode(g.Text, EncodeOptions{NoBOS: !g.AddSpecialTokens})
	require.NoError(t, err)
	require.Equal(t, g.IDs, ids, "ids of %.200q (%s)", g.Text, g.Tokenizer)
	require.Equal(t, g.Decoded, tok.Decode(g.IDs, false), "decoded %.200q", g.Text)
	require.Equal(t, g.DecodedSkipSpecial, tok.Decode(g.IDs, true), "decoded %.200q, special tokens skipped", g.Text)
}

func TestGoldenOfRealTokenizers(t *testing.T) {
	data := phi3Data(t)
	loaded := map[string]*Tokenizer{}
	for _, file := range []string{"tokenizer_golden.json", "tokenizer_golden_variants.json"} {
		cases := readGolden(t, filepath.Join(data, file))
		for _, g := range cases {
			tok := loaded[g.Tokenizer]
			if tok == nil {
				var err error
				tok, err = Load(onlyTokenizerJSON(t, filepath.Join(data, filepath.FromSlash(g.Tokenizer))))
				require.NoError(t, err, g.Tokenizer)
				loaded[g.Tokenizer] = tok
			}
			t.Run(strings.SplitN(g.Tokenizer, "/", 2)[0], func(t *testing.T) { checkGolden(t, tok, g) })
		}
		t.Logf("%s: %d cases", file, len(cases))
	}
}
