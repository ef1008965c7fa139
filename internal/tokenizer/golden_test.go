package tokenizer

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// phi3Data finds the folder with real tokenizers: $PHI3_DATA, or shared/phi3-data beside any parent
// directory. It is not part of the repository; tests that need it skip without it.
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

// onlyTokenizerJSON is a directory with nothing but the given file as tokenizer.json, as the goldens were
// made.
func onlyTokenizerJSON(t testing.TB, path string) fs.FS {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return fstest.MapFS{"tokenizer.json": {Data: raw}}
}

type golden struct {
	Tokenizer          string  `json:"tokenizer"`
	Text               *string `json:"text"` // null: ids that no text gives, for decoding only
	IDs                []int32 `json:"ids"`
	SpecialAsText      []int32 `json:"special_as_text"` // present in our own fixtures only
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
	if g.Text != nil {
		ids, err := tok.Encode(context.Background(), *g.Text, EncodeOptions{NoBOS: !g.AddSpecialTokens})
		require.NoError(t, err)
		require.Equal(t, g.IDs, ids, "ids of %.200q (%s)", *g.Text, g.Tokenizer)
		if g.SpecialAsText != nil {
			ids, err := tok.Encode(context.Background(), *g.Text,
				EncodeOptions{NoBOS: !g.AddSpecialTokens, SpecialAsText: true})
			require.NoError(t, err)
			require.Equal(t, g.SpecialAsText, ids, "ids of %.200q as plain text (%s)", *g.Text, g.Tokenizer)
		}
	}
	require.Equal(t, g.Decoded, tok.Decode(g.IDs, false), "decoded %v", g.IDs)
	require.Equal(t, g.DecodedSkipSpecial, tok.Decode(g.IDs, true), "decoded %v, special tokens skipped",
		g.IDs)
}

// checkGoldens checks a whole file; open gives the directory of a tokenizer named in it.
func checkGoldens(t *testing.T, cases []golden, open func(name string) fs.FS) {
	t.Helper()
	loaded := map[string]*Tokenizer{}
	for _, g := range cases {
		tok := loaded[g.Tokenizer]
		if tok == nil {
			var err error
			tok, err = Load(open(g.Tokenizer))
			require.NoError(t, err, g.Tokenizer)
			loaded[g.Tokenizer] = tok
		}
		if g.Pieces != nil {
			checkStream(t, tok, g)
		} else {
			checkGolden(t, tok, g)
		}
	}
	t.Logf("%d cases, %d tokenizers", len(cases), len(loaded))
}

// checkStream compares the text that each id completes.
func checkStream(t *testing.T, tok *Tokenizer, g golden) {
	t.Helper()
	stream := tok.NewStream(nil, false)
	for i, id := range g.IDs {
		require.Equal(t, g.Pieces[i], stream.Push(id), "id %d of %.100q", i, g.Decoded)
	}
	require.Equal(t, g.Flush, stream.Flush(), "flush of %.100q", g.Decoded)
}

func TestGoldenOfFixtures(t *testing.T) {
	checkGoldens(t, readGolden(t, "testdata/golden.json"), func(name string) fs.FS {
		return onlyTokenizerJSON(t, filepath.Join("testdata", name))
	})
}

func TestGoldenOfRealTokenizers(t *testing.T) {
	race.SkipAlone(t)
	data := phi3Data(t)
	for _, file := range []string{
		"tokenizer_golden.json", "tokenizer_golden_variants.json",
		"tokenizer_stream_golden.json",
	} {
		t.Run(file, func(t *testing.T) {
			checkGoldens(t, readGolden(t, filepath.Join(data, file)), func(name string) fs.FS {
				return onlyTokenizerJSON(t, filepath.Join(data, filepath.FromSlash(name)))
			})
		})
	}
}

// The built-in checkpoint's tokenizer, with the files around it: its goldens come from Hugging Face's
// AutoTokenizer.
func TestGoldenOfBuiltInTokenizer(t *testing.T) {
	for _, file := range []string{"tokenizer_golden.json", "tokenizer_stream_golden.json"} {
		t.Run(file, func(t *testing.T) {
			checkGoldens(t, readGolden(t, filepath.Join("../../testdata/demo", file)), func(string) fs.FS {
				return os.DirFS("../demo/checkpoint")
			})
		})
	}
}
