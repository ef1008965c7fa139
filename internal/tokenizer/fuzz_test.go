package tokenizer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzEncode: any bytes encode without panic, to ids that exist, that decode to what went in.
func FuzzEncode(f *testing.F) {
	for _, seed := range []string{
		"", " ", "The capital of Germany is", "a  b\n\n\tc", "日本語 🙂", "\xff\xfe", "\xe6\x97", "▁▁x",
		"<|end|>  x", "<0x0A>", "aaaaaaaa",
		"It'S 12345 ½\r\n//", "<|both|> \u3000<|left|>", "é̂\u200d",
	} {
		f.Add([]byte(seed))
	}
	var toks []*Tokenizer
	for _, name := range fixtures {
		toks = append(toks, fixture(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := string(raw)
		for _, tok := range toks {
			ids, err := tok.Encode(context.Background(), text, EncodeOptions{NoBOS: true})
			require.NoError(t, err)
			added := false
			for _, id := range ids {
				require.NotEmpty(t, tok.Piece(id))
				isAdded := tok.addedBy[tok.Piece(id)] != nil
				added = added || isAdded
			}
			stream := tok.NewStream(nil, false)
			streamed := ""
			for _, id := range ids {
				streamed += stream.Push(id)
			}
			streamed += stream.Flush()
			require.True(t, utf8.ValidString(streamed))
			require.Equal(t, tok.Decode(ids, false), streamed)
			if !added { // added tokens swallow white space and start new segments
				want := ValidUTF8(text)
				if tok.split == nil {
					// "▁" is the SentencePiece kind's letter for a space, so a written one comes back as a
					// space.
					want = strings.ReplaceAll(want, "▁", " ")
				}
				require.Equal(t, want, streamed)
			}
		}
	})
}

// FuzzLoad: any tokenizer.json gives a tokenizer that works or an error, never a panic. Random bytes seldom
// are JSON, so each input replaces one entry of a good file ("model.merges" is the entry merges of model);
// without a name it is the file.
func FuzzLoad(f *testing.F) {
	for _, seed := range [][2]string{
		{"", `{"decoder":{"type":"ByteLevel"},"model":{"vocab":{"a":0},"merges":[["a","a"]]}}`},
		{"decoder", `{"type":"Sequence","decoders":[{"type":"Replace"},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip"}]}`},
		{"decoder", `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"a"},"content":"b"},{"type":"ByteFallback"},` +
			`{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}`},
		{"decoder", `{"type":"ByteLevel","add_prefix_space":1,"trim_offsets":null,"use_regex":true}`},
		{"normalizer", `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"x"},{"type":"Replace","pattern":{"String":"x"},"content":""}]}`},
		{"normalizer", `{"type":"Replace","pattern":{"Regex":"("},"content":"y"}`},
		{"pre_tokenizer", `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"x"},"behavior":"Isolated"},{"type":"ByteLevel"}]}`},
		{"normalizer", `{"type":"Replace","pattern":{"String":" "},"content":""}`},
		{"pre_tokenizer", `{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}`},
		{"pre_tokenizer", `{"type":"Metaspace","replacement":"▁","add_prefix_space":true}`},
		{"pre_tokenizer", `{"type":"ByteLevel","use_regex":true}`},
		{"post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[1]}}}`},
		{"post_processor", `{"type":"Sequence","processors":[{"type":"ByteLevel"},null]}`},
		{"added_tokens", `[{"id":640,"content":" ","lstrip":true,"rstrip":true,"single_word":true,"normalized":true,"special":true}]`},
		{"added_tokens", `[{"id":9999,"content":"\ud800"},{"id":-1,"content":""},{"id":1e9,"content":"<0xZZ>"}]`},
		{"truncation", `[]`},
		{"model.merges", `["a b",["a","b"],"\u0061 a"]`},
		{"model.vocab", `{"a":0,"a":1,"\"":2,"\\":-3e1}`},
		{"model.dropout", `"x"`},
	} {
		for kind := range fixtures {
			f.Add(uint8(kind), seed[0], []byte(seed[1]))
		}
	}
	var files []map[string]json.RawMessage
	for _, name := range fixtures {
		raw, err := os.ReadFile("testdata/" + name + ".json")
		require.NoError(f, err)
		var file map[string]json.RawMessage
		require.NoError(f, json.Unmarshal(raw, &file))
		files = append(files, file)
	}
	with := func(object map[string]json.RawMessage, key string, value []byte) []byte {
		changed := maps.Clone(object)
		changed[key] = value
		var out bytes.Buffer
		for k, v := range changed {
			fmt.Fprintf(&out, ",%q:%s", k, v)
		}
		return append(append([]byte("{"), out.Bytes()[1:]...), '}')
	}
	f.Fuzz(func(t *testing.T, kind uint8, key string, value []byte) {
		raw := value
		if key != "" {
			file := files[int(kind)%len(files)]
			if inner, ok := strings.CutPrefix(key, "model."); ok {
				var model map[string]json.RawMessage
				require.NoError(t, json.Unmarshal(file["model"], &model))
				key, value = "model", with(model, inner, value)
			}
			raw = with(file, key, value)
		}
		loadAndUse(t, fstest.MapFS{"tokenizer.json": {Data: raw}})
	})
}

// loadAndUse loads a tokenizer, and if it does load, does with it what can be done.
func loadAndUse(t *testing.T, files fstest.MapFS) {
	tok, err := Load(files)
	if err != nil {
		require.NotEmpty(t, err.Error())
		return
	}
	ids, err := tok.Encode(context.Background(), "The  capital\nof 日本 \xff <|end|> is", EncodeOptions{})
	require.NoError(t, err)
	tok.Decode(ids, false)
	tok.Decode(nil, true)
	for id := range min(tok.VocabSize(), 700) {
		tok.Piece(int32(id))
		stream := tok.NewStream(nil, false)
		require.Equal(t, tok.Decode([]int32{int32(id)}, false), stream.Push(int32(id))+stream.Flush(), "%q",
			tok.Piece(int32(id)))
	}
	_, _ = tok.ApplyChatTemplate(context.Background(), conversation, true)
}

// FuzzConfigFiles: whatever stands in the files around tokenizer.json, the result works or is refused in
// words. bos is a token's name or its object, template a chat_template entry; with whole, config is the file
// itself.
func FuzzConfigFiles(f *testing.F) {
	for _, seed := range [][4]string{
		{
			`{"tokenizer_class":"LlamaTokenizer","add_bos_token":true,"bos_token":"<s>"}`,
			`{"bos_token":{"content":"<s>","lstrip":false}}`, ``, `whole`,
		},
		{
			`"<s>"`, `{"eos_token":"<|end|>","pad_token":null}`,
			`"{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"`, ``,
		},
		{
			`{"content":"<|end|>","Content":"x"}`, `{"additional_special_tokens":[{}]}`,
			`[{"name":"default","template":"{{ eos_token }}"}]`, ``,
		},
		{`{"content":7}`, `[]`, `{"default":"x"}`, ``},
		{`null`, `{"bos_token":"a","bos_token":"b"}`, `null`, ``},
		{`{"added_tokens_decoder":{"640":{"content":"<|end|>","normalized":true},"9":{"content":"x","special":true}},"add_bos_token":null}`, `{}`, ``, `whole`},
		{`{"extra_special_tokens":{"a":"b"},"additional_special_tokens":["c",{"content":"d"}],"split_special_tokens":true}`, `{"additional_special_tokens":["e"]}`, ``, `whole`},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3] != "")
	}
	raw, err := os.ReadFile("testdata/spm.json")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, bos, special, template string, whole bool) {
		config := bos
		if !whole {
			config = fmt.Sprintf(`{"tokenizer_class":"LlamaTokenizerFast","bos_token":%s,"chat_template":%s}`,
				bos, template)
		}
		tok, err := Load(fstest.MapFS{
			"tokenizer.json":          {Data: raw},
			"tokenizer_config.json":   {Data: []byte(config)},
			"special_tokens_map.json": {Data: []byte(special)},
		})
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		ids, err := tok.Encode(context.Background(), "The capital", EncodeOptions{})
		require.NoError(t, err)
		for _, id := range ids {
			require.NotEmpty(t, tok.Piece(id))
		}
		_, _ = tok.ApplyChatTemplate(context.Background(), conversation, true)
	})
}

// FuzzSentencePiece: any tokenizer.model gives a tokenizer that works or an error.
func FuzzSentencePiece(f *testing.F) {
	field := func(number, kind int, value string) string {
		return string(rune(number<<3|kind)) + string(rune(len(value))) + value
	}
	model := field(2, 2, "\x18\x02")
	for c := range 256 {
		model += field(1, 2, field(1, 2, fmt.Sprintf("<0x%02X>", c))+"\x18\x06")
	}
	for _, piece := range []string{"▁", "a", "b", "ab", "▁a", "<s>", "</s>"} {
		model += field(1, 2, field(1, 2, piece)+"\x15\x00\x00\x80\x3f")
	}
	tok, err := Load(fstest.MapFS{"tokenizer.model": {Data: []byte(model)}})
	require.NoError(f, err)
	ids, err := tok.Encode(context.Background(), "ab", EncodeOptions{})
	require.NoError(f, err)
	require.Len(f, ids, 2) // "▁" and "ab", or "▁a" and "b"
	f.Add([]byte(model))
	f.Add([]byte(model[:100]))
	f.Add([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("PGh0bWw+ 0\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		loadAndUse(t, fstest.MapFS{"tokenizer.model": {Data: raw}})
	})
}
