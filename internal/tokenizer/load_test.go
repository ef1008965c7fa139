package tokenizer

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// manyTokens returns the text of n added tokens of 1024 bytes, each followed by a comma.
func manyTokens(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `{"id":%d,"content":"%01024d"},`, 1000+i, i)
	}
	return out.String()
}

// What a file asks for is done or refused in words that name it.
func TestLoadRefuses(t *testing.T) {
	race.SkipAlone(t)
	spm, err := os.ReadFile("testdata/spm.json")
	require.NoError(t, err)
	o200k, err := os.ReadFile("testdata/o200k.json")
	require.NoError(t, err)
	for _, x := range []struct {
		raw       []byte
		old, new  string
		want      string
		untouched bool
	}{
		{raw: spm, old: `"type":"BPE"`, new: `"type":"Unigram"`, want: `"Unigram"`},
		{raw: spm, old: `"dropout":null`, new: `"dropout":0.1`, want: "dropout"},
		{raw: spm, old: `"byte_fallback":true`, new: `"byte_fallback":false`, want: "byte_fallback"},
		{raw: spm, old: `"ignore_merges":false`, new: `"ignore_merges":true`, want: "ignore_merges"},
		{
			raw: spm, old: `"continuing_subword_prefix":null`, new: `"continuing_subword_prefix":"##"`,
			want: "continuing_subword_prefix",
		},
		{raw: spm, old: `"<0x0A>":13`, new: `"<0x0a>":13`, want: `lacks "<0x0A>"`},
		{raw: spm, old: `"<0x0A>":13`, new: `"<0x0A>":12`, want: "share id 12"},
		{raw: spm, old: `"<0x0A>":13`, new: `"<0x0A>":-13`, want: "id -13"},
		{raw: spm, old: `"<0x0A>":13`, new: `"<0x0A>":2000000`, want: "id 2000000"},
		{raw: spm, old: `"<0x0A>":13`, new: `"<0x0A>":1.5`, want: "1.5"},
		{raw: spm, old: `"<0x0A>":13`, new: `"<0x0A>":13,"<0xZZ>":648`, want: `"<0xZZ>"`},
		{raw: spm, old: `"merges":[`, new: `"merges":["a b c",`, want: "merge 0"},
		{raw: spm, old: `"merges":[`, new: `"merges":[["a"],`, want: "merge 0"},
		{raw: spm, old: `"merges":[`, new: `"merges":["nosuch piece",`, want: "merge 0"},
		{raw: spm, old: `"merges":[`, new: `"merges":[7,`, want: "merge 0"},
		{raw: spm, old: `"type":"Prepend"`, new: `"type":"NFKC"`, want: `normalizer: type "NFKC"`},
		{
			raw: spm, old: `"content":"▁"`, new: `"content":"` + strings.Repeat("x", 65) + `"`,
			want: "normalizer: it can",
		},
		{
			raw: spm, old: `"pre_tokenizer":null`, new: `"pre_tokenizer":{"type":"Whitespace"}`,
			want: `pre_tokenizer: type "Whitespace"`,
		},
		{
			raw: spm, old: `"type":"TemplateProcessing"`, new: `"type":"BertProcessing"`,
			want: `post_processor: type "BertProcessing"`,
		},
		{raw: spm, old: `"ids":[1]`, new: `"ids":[100000]`, want: "id 100000"},
		{raw: spm, old: `{"Sequence":{"id":"A"`, new: `{"Sequence":{"id":"B"`, want: "Sequence A"},
		{raw: spm, old: `"type":"ByteFallback"`, new: `"type":"Metaspace"`, want: "decoder"},
		{
			raw: spm, old: `"decoder":{"type":"Sequence"`, new: `"decoder":{"Type":"Sequence"`,
			want: `decoder: the key "Type" should be "type"`,
		},
		{
			raw: spm, old: `"type":"ByteFallback"`, new: `"typE":"ByteFallback"`,
			want: `decoder: decoders: entry 1: the key "typE" should be "type"`,
		},
		{
			raw: o200k, old: `"decoder":{"type":"ByteLevel"`, new: `"decoder":{"Type":"ByteLevel"`,
			want: `decoder: the key "Type" should be "type"`,
		},
		{
			raw: spm, old: `"pattern":{"String":"▁"},"content":" "},{"type":"ByteF`,
			new:  `"pattern":{"String":"8"},"content":"X"},{"type":"ByteF`,
			want: `looks like a byte but is none`,
		},
		{
			raw: spm, old: `"pattern":{"String":"▁"},"content":" "},{"type":"ByteF`,
			new:  `"pattern":{"String":"` + strings.Repeat("(", 65) + `"},"content":" "},{"type":"ByteF`,
			want: `decoder: a text of 65 bytes, more than 64`,
		},
		{raw: spm, old: `"start":1`, new: `"start":2`, want: "Strip step has start 2"},
		{raw: spm, old: `"type":"Strip","content":" "`, new: `"type":"Strip","content":7`, want: "decoder"},
		{raw: spm, old: `"id":640,"content":"<|end|>"`, new: `"id":640,"content":"<s>"`, want: `"<s>"`},
		{
			raw: spm, old: `"id":640,"content":"<|end|>"`, new: `"id":5,"content":"<|end|>"`,
			want: "share id 5",
		},
		{raw: spm, old: `"id":640,"content":"<|end|>"`, new: `"id":640,"content":""`, want: "0 bytes"},
		{raw: o200k, old: `\\p{N}{1,3}`, new: `\\p{N}{1,2}`, want: "unknown Split pattern"},
		{raw: o200k, old: `"Removed"`, new: `"MergedWithNext"`, want: "MergedWithNext"},
		{
			raw: o200k, old: `"add_prefix_space":false`, new: `"add_prefix_space":true`,
			want: "add_prefix_space",
		},
		{
			raw: o200k, old: `"decoder":{"type":"ByteLevel"`, new: `"decoder":{"type":"WordPiece"`,
			want: `decoder: type "WordPiece"`,
		},
		{raw: spm, old: `"decoder":`, new: `"deCoder":`, want: `the key "deCoder" should be "decoder"`},
		{raw: spm, old: `"decoder":`, new: `"decoder":null,"decoder":`, want: `has the key "decoder" twice`},
		{raw: spm, old: `"merges":`, new: `"Merges":`, want: `model: the key "Merges" should be "merges"`},
		{
			raw: spm, old: `"rstrip":`, new: `"rStrip":`,
			want: `added_tokens: entry 0: the key "rStrip" should be "rstrip"`,
		},
		{
			raw: spm, old: `"<0x0A>":13`, new: `"<0x0A>":13,"<0x0A>":13`,
			want: `vocab: has the token "<0x0A>" twice`,
		},
		{raw: spm, old: `"merges":[`, new: "\"merges\":[\"\xff\",", want: "is not valid UTF-8"},
		{raw: spm, old: `"merges":[`, new: `"merges":{}, "x":[`, want: "merges is not a list"},
		{
			raw: spm, old: `"id":640,`, new: `"id":"640",`,
			want: "added_tokens: entry 2: id is a string, not a whole number of up to 64 bits",
		},
		{
			raw: spm, old: `"normalizers":[`,
			new:  `"normalizers":[` + strings.Repeat(`{"type":"Prepend","prepend":"x"},`, 16),
			want: "normalizer: normalizers: has more than 16 entries",
		},
		{
			raw: spm, old: `"ids":[1]`, new: `"ids":[1` + strings.Repeat(",1", 64) + `]`,
			want: "post_processor: puts more than 64 ids around a text",
		},
		{
			raw: spm, old: `"added_tokens":[`, new: `"added_tokens":[` + strings.Repeat("{},", 1<<16),
			want: "added_tokens: has more than 65536 entries",
		},
		{
			raw: spm, old: `"added_tokens":[`, new: `"added_tokens":[` + manyTokens(1025),
			want: "all added tokens together have more than 1048576 bytes",
		},
		{
			raw: o200k, old: `"vocab":{`, new: `"vocab":{"a中":9000,`,
			want: `model: token "a中" has a character that stands for no byte`,
		},
		{raw: []byte("{"), untouched: true, want: "tokenizer.json"},
		{raw: []byte("null"), untouched: true, want: "tokenizer.json"},
		{raw: []byte("[]"), untouched: true, want: "tokenizer.json"},
	} {
		if !x.untouched {
			require.True(t, bytes.Contains(x.raw, []byte(x.old)), "%q is not in the fixture", x.old)
			x.raw = bytes.Replace(x.raw, []byte(x.old), []byte(x.new), 1)
		}
		_, err := Load(fstest.MapFS{"tokenizer.json": {Data: x.raw}})
		require.ErrorContains(t, err, "tokenizer.json: ")
		require.ErrorContains(t, err, x.want)
	}
	_, err = Load(fstest.MapFS{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "tokenizer.json")
	for _, file := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		_, err = Load(fstest.MapFS{"tokenizer.json": {Data: spm}, file: {Data: []byte(`{"bos_token": 7}`)}})
		require.ErrorContains(t, err, file)
		for _, x := range []struct{ config, want string }{
			{
				`{"bos_token": {"content": "<s>", "Content": "<unk>"}}`,
				`bos_token: the key "Content" should be "content"`,
			},
			{`{"bos_token": "<s>", "bos_token": "<unk>"}`, `has the key "bos_token" twice`},
			{
				`{"bos_token": "` + strings.Repeat("x", 1025) + `"}`,
				"bos_token: has 1025 bytes, more than 1024",
			},
			{"{\"bos_token\": \"\xff\"}", "is not valid UTF-8"},
		} {
			_, err = Load(fstest.MapFS{"tokenizer.json": {Data: spm}, file: {Data: []byte(x.config)}})
			require.ErrorContains(t, err, file+": "+x.want)
		}
		_, err = Load(fstest.MapFS{"tokenizer.json": {Data: spm}, file: {Mode: fs.ModeNamedPipe}})
		require.EqualError(t, err, file+": is not a regular file but a named pipe")
		_, err = Load(fstest.MapFS{"tokenizer.json": {Data: spm}, file: {Data: []byte(`{`)}})
		require.ErrorContains(t, err, file)
	}
}

// sugarme/tokenizer brings progress bars, logging and a cache in the home directory. None of it may show.
func TestLoadIsSilent(t *testing.T) {
	if os.Getenv("TOKENIZER_CHILD") != "" {
		tok := fixture(t, "spm")
		_, err := tok.Encode(context.Background(), "x", EncodeOptions{})
		require.NoError(t, err)
		tok.Decode([]int32{5}, true)
		_, err = withTemplate("{{ messages }}").ApplyChatTemplate(context.Background(), nil, true)
		require.NoError(t, err)
		return
	}
	home := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestLoadIsSilent$")
	child.Env = append(os.Environ(), "TOKENIZER_CHILD=1", "HOME="+home)
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "PASS", strings.TrimSpace(strings.SplitN(string(out), "coverage:", 2)[0]))
	entries, err := os.ReadDir(home)
	require.NoError(t, err)
	require.Empty(t, entries)
}
