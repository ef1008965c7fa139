package tokenizer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// configGolden is what transformers makes of one set of files, see testdata/make_config_golden.py.
type configGolden struct {
	Name   string                     `json:"name"`
	Base   string                     `json:"base"`   // the fixture that is tokenizer.json, changed by
	Patch  map[string]json.RawMessage `json:"patch"`  // these entries
	Files  map[string]json.RawMessage `json:"files"`  // the files beside it
	Folder string                     `json:"folder"` // or else: where the real files lie
	Copy   []string                   `json:"copy"`
	Change map[string]json.RawMessage `json:"change"` // of tokenizer_config.json

	BOS   *string `json:"bos"`
	EOS   *string `json:"eos"`
	Size  int     `json:"size"`
	Texts []struct {
		Text    string  `json:"text"`
		IDs     []int32 `json:"ids"`
		Plain   []int32 `json:"plain"`   // without BOS and EOS
		Literal []int32 `json:"literal"` // and without special tokens
		Decoded string  `json:"decoded"`
		Skipped string  `json:"skipped"` // without special tokens
	} `json:"texts"`
}

// files makes the directory.
func (g *configGolden) files(t *testing.T) fstest.MapFS {
	files := fstest.MapFS{}
	with := func(raw []byte, changes map[string]json.RawMessage) []byte {
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &object))
		for key, value := range changes {
			if object[key] = value; key == "added_tokens_decoder" && string(value) == "null" {
				delete(object, key)
			}
		}
		raw, err := json.Marshal(object)
		require.NoError(t, err)
		return raw
	}
	if g.Folder == "" {
		raw, err := os.ReadFile(filepath.Join("testdata", g.Base+".json"))
		require.NoError(t, err)
		files["tokenizer.json"] = &fstest.MapFile{Data: with(raw, g.Patch)}
		for name, raw := range g.Files {
			files[name] = &fstest.MapFile{Data: raw}
		}
		return files
	}
	for _, name := range g.Copy {
		raw, err := os.ReadFile(filepath.Join(phi3Data(t), g.Folder, name))
		require.NoError(t, err)
		if name == "tokenizer_config.json" && len(g.Change) > 0 {
			raw = with(raw, g.Change)
		}
		files[name] = &fstest.MapFile{Data: raw}
	}
	return files
}

func TestConfigGolden(t *testing.T) {
	race.SkipAlone(t)
	raw, err := os.ReadFile("testdata/config_golden.json")
	require.NoError(t, err)
	var goldens []configGolden
	require.NoError(t, json.Unmarshal(raw, &goldens))
	require.Greater(t, len(goldens), 40)
	for _, g := range goldens {
		t.Run(g.Name, func(t *testing.T) {
			tok, err := Load(g.files(t))
			require.NoError(t, err)
			name := func(id int32) *string {
				if id < 0 {
					return nil
				}
				piece := tok.rawPiece(id)
				return &piece
			}
			require.Equal(t, g.BOS, name(tok.bos))
			require.Equal(t, g.EOS, name(tok.eos))
			require.Equal(t, g.Size, tok.VocabSize())
			for _, x := range g.Texts {
				ids, err := tok.Encode(context.Background(), x.Text, EncodeOptions{})
				require.NoError(t, err)
				require.Equal(t, x.IDs, ids, "%q", x.Text)
				plain, err := tok.Encode(context.Background(), x.Text, EncodeOptions{NoBOS: true})
				require.NoError(t, err)
				require.Equal(t, x.Plain, plain, "%q", x.Text)
				literal, err := tok.Encode(context.Background(), x.Text,
					EncodeOptions{NoBOS: true, SpecialAsText: true})
				require.NoError(t, err)
				require.Equal(t, x.Literal, literal, "%q", x.Text)
				require.Equal(t, x.Decoded, tok.Decode(x.IDs, false), "%q", x.Text)
				require.Equal(t, x.Skipped, tok.Decode(x.IDs, true), "%q", x.Text)
				stream, streamed := tok.NewStream(nil, true), ""
				for _, id := range x.IDs {
					streamed += stream.Push(id)
				}
				require.Equal(t, x.Skipped, streamed+stream.Flush(), "%q", x.Text)
			}
		})
	}
}
