package gguf

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
	"phi3/internal/tokenizer"
)

// A goldenText is what Hugging Face makes of a text.
type goldenText struct {
	Tokenizer          string   `json:"tokenizer"`
	Text               *string  `json:"text"` // null: ids that no text gives
	IDs                []int32  `json:"ids"`
	AddSpecialTokens   bool     `json:"add_special_tokens"`
	Decoded            string   `json:"decoded"`
	DecodedSkipSpecial string   `json:"decoded_skip_special"`
	Pieces             []string `json:"pieces"` // what becomes printable with each id
	Flush              string   `json:"flush"`
}

// A tokenizer from a GGUF file gives Hugging Face's ids and texts.
func TestTokenizerGoldens(t *testing.T) {
	race.SkipAlone(t)
	data := phi3Data(t)
	loaded := map[string]*tokenizer.Tokenizer{}
	for _, path := range []string{
		filepath.Join(data, "tokenizer_golden.json"), filepath.Join(data, "tokenizer_golden_variants.json"),
		filepath.Join(data, "tokenizer_stream_golden.json"), "../../testdata/demo/tokenizer_golden.json",
		"../../testdata/demo/tokenizer_stream_golden.json",
	} {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		var cases []goldenText
		require.NoError(t, json.Unmarshal(raw, &cases))
		require.NotEmpty(t, cases)
		for _, g := range cases {
			tok := loaded[g.Tokenizer]
			if tok == nil {
				file := filepath.Join(data, g.Tokenizer)
				if g.Tokenizer == "internal/demo/checkpoint/tokenizer.json" {
					file = "../demo/checkpoint/tokenizer.json"
				}
				// the goldens were made with this file alone
				raw, err := os.ReadFile(file)
				require.NoError(t, err)
				_, tok = throughGGUF(t, fstest.MapFS{"tokenizer.json": {Data: raw}}, 200_064)
				loaded[g.Tokenizer] = tok
			}
			checkGoldenText(t, tok, &g)
		}
		t.Logf("%s: %d cases", path, len(cases))
	}
}

func checkGoldenText(t *testing.T, tok *tokenizer.Tokenizer, g *goldenText) {
	t.Helper()
	if g.Pieces != nil {
		stream := tok.NewStream(nil, false)
		for i, id := range g.IDs {
			require.Equal(t, g.Pieces[i], stream.Push(id), "id %d of %q", i, g.Decoded)
		}
		require.Equal(t, g.Flush, stream.Flush(), g.Decoded)
		return
	}
	if g.Text != nil {
		options := tokenizer.EncodeOptions{NoBOS: !g.AddSpecialTokens}
		ids, err := tok.Encode(context.Background(), *g.Text, options)
		require.NoError(t, err)
		require.Equal(t, g.IDs, ids, "%s: %q", g.Tokenizer, *g.Text)
	}
	require.Equal(t, g.Decoded, tok.Decode(g.IDs, false), "%v", g.IDs)
	require.Equal(t, g.DecodedSkipSpecial, tok.Decode(g.IDs, true), "%v", g.IDs)
}

// A chat template from a GGUF file gives the same text as the one of a directory, or the same error with the
// name of its key. Package tokenizer compares the text with transformers'.
func TestChatTemplateGoldens(t *testing.T) {
	race.SkipAlone(t)
	raw, err := os.ReadFile(filepath.Join(phi3Data(t), "template_golden.json"))
	require.NoError(t, err)
	var cases []struct {
		Name     string              `json:"name"`
		Template string              `json:"template"`
		Messages []tokenizer.Message `json:"messages"`
		Open     bool                `json:"agp"`
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	metadata, err := TokenizerMetadata(os.DirFS(demoDir), 2560)
	require.NoError(t, err)
	template := len(metadata) - 1
	for metadata[template].Key != templateKey {
		template--
	}
	direct, err := tokenizer.Load(os.DirFS(demoDir))
	require.NoError(t, err)
	var tok *tokenizer.Tokenizer
	var broken error
	for i, c := range cases {
		if i == 0 || c.Template != cases[i-1].Template {
			metadata[template].Value = c.Template
			tok, err = tokenizer.Load(withMetadata(t, metadata))
			require.NoError(t, err)
			broken = direct.SetChatTemplate("the GGUF file: key "+templateKey, c.Template)
		}
		want, wantErr := "", broken
		if broken == nil {
			want, wantErr = direct.ApplyChatTemplate(context.Background(), c.Messages, c.Open)
		}
		got, err := tok.ApplyChatTemplate(context.Background(), c.Messages, c.Open)
		require.Equal(t, want, got, c.Name)
		if wantErr == nil {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, wantErr.Error())
		}
	}
}

// Named templates keep their names.
func TestNamedChatTemplates(t *testing.T) {
	demo := fstest.MapFS{}
	for _, name := range []string{"tokenizer.json", "special_tokens_map.json"} {
		raw, err := fs.ReadFile(os.DirFS(demoDir), name)
		require.NoError(t, err)
		demo[name] = &fstest.MapFile{Data: raw}
	}
	demo["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(`{"tokenizer_class": "LlamaTokenizer",
		"chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]}`)}
	metadata, err := TokenizerMetadata(demo, 2560)
	require.NoError(t, err)
	require.Contains(t, metadata, KV{"tokenizer.chat_template.tool_use", "B"})
	require.Contains(t, metadata, KV{templateKey, "A"})
	require.Contains(t, metadata, KV{"tokenizer.chat_templates", []string{"tool_use"}})
	tok, err := tokenizer.Load(withMetadata(t, metadata))
	require.NoError(t, err)
	text, err := tok.ApplyChatTemplate(context.Background(), nil, true)
	require.NoError(t, err)
	require.Equal(t, "A", text)
	require.NoError(t, tok.SetTemplateVariable("tools", "[]"))
	text, err = tok.ApplyChatTemplate(context.Background(), nil, true)
	require.NoError(t, err)
	require.Equal(t, "B", text)
}

// BenchmarkLoadTokenizer loads the tokenizers of the published models.
func BenchmarkLoadTokenizer(b *testing.B) {
	for _, name := range []string{"Phi-3-mini-4k-instruct", "phi-4", "Phi-4-mini-instruct"} {
		fsys := realDirectory(b, name)
		metadata, err := TokenizerMetadata(fsys, vocabSize(b, fsys))
		require.NoError(b, err)
		c := withMetadata(b, metadata)
		b.Run(name, func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				_, err := tokenizer.Load(c)
				require.NoError(b, err)
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best.Microseconds())/1e3, "ms-best")
		})
	}
}
