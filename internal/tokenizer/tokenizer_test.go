package tokenizer

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// fixture loads one of the small tokenizers in testdata: spm, cl100k or o200k.
func fixture(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Load(onlyTokenizerJSON(t, "testdata/"+name+".json"))
	require.NoError(t, err)
	return tok
}

var fixtures = []string{"spm", "cl100k", "o200k"}

// naive is BPE by the book, in O(n²): look at all pairs, merge the best, start over. It knows no cuts, heap
// or cache.
func naive(b *bpe, word string) []int32 {
	m := newMerger(b)
	m.setSymbols(word)
	ids := append([]int32{}, m.id...)
	for {
		best, at := merge{rank: -1}, -1
		for i := range max(len(ids)-1, 0) {
			if mg, ok := b.merges[pairKey(ids[i], ids[i+1])]; ok && (at < 0 || mg.rank < best.rank) {
				best, at = mg, i
			}
		}
		if at < 0 {
			return ids
		}
		ids = append(append(ids[:at:at], best.id), ids[at+2:]...)
	}
}

// words encodes normalized text.
func words(t testing.TB, tok *Tokenizer, text string) []int32 {
	e := &encoder{Tokenizer: tok, merger: newMerger(tok.bpe), ids: []int32{}}
	left, err := e.words(text, true)
	require.NoError(t, err)
	require.Empty(t, left)
	return e.ids
}

// Cutting, heap and cache must not show: any text gives what merging it as one word gives.
func TestSegmentsEqualNaiveBPE(t *testing.T) {
	check := func(t *testing.T, tok *Tokenizer, rounds int) {
		r := rand.New(rand.NewSource(3))
		var pieces []string
		for piece := range tok.bpe.vocab {
			pieces = append(pieces, piece)
		}
		cuts := 0
		for range rounds {
			var text strings.Builder
			for range 1 + r.Intn(60) {
				switch r.Intn(6) {
				case 0:
					text.WriteString(strings.Repeat("▁", 1+r.Intn(9)))
				case 1:
					text.WriteRune(rune(0x20 + r.Intn(0x5f)))
				case 2:
					text.WriteRune(rune(r.Intn(0x3000)))
				case 3:
					text.WriteString(strings.Repeat(string(rune('a'+r.Intn(4))), 1+r.Intn(20)))
				default:
					text.WriteString(pieces[r.Intn(len(pieces))])
				}
			}
			word := text.String()
			require.Equal(t, naive(tok.bpe, word), words(t, tok, word), "%q", word)
			if tok.bpe.splitSafely(word) < len(word) {
				cuts++
			}
		}
		require.Greater(t, cuts, rounds/2, "the texts were hardly ever cut: this test shows nothing")
	}
	t.Run("fixture", func(t *testing.T) { check(t, fixture(t, "spm"), 2000) })
	t.Run("Phi-3", func(t *testing.T) {
		tok, err := Load(onlyTokenizerJSON(t,
			filepath.Join(phi3Data(t), "Phi-3-mini-4k-instruct", "tokenizer.json")))
		require.NoError(t, err)
		check(t, tok, 1500)
	})
}

// A merge over every boundary, and one of byte tokens: the cuts must give way.
func TestSegmentsWithMergesAcrossWords(t *testing.T) {
	tok := fixture(t, "spm")
	b := tok.bpe
	for key, mg := range b.merges { // make room for three ranks before all others
		b.merges[key] = merge{rank: mg.rank + 3, id: mg.id}
	}
	for rank, pair := range [][2]string{{"e", "▁"}, {"e▁", "t"}, {"<0x0A>", "<0x0A>"}} {
		joined := pair[0] + pair[1]
		b.vocab[joined] = int32(10_000 + rank)
		b.merges[pairKey(b.vocab[pair[0]], b.vocab[pair[1]])] = merge{rank: int32(rank), id: b.vocab[joined]}
		b.noteJoined([]byte(joined))
	}
	b.neverCut = true
	for _, text := range []string{"the▁time▁the▁the", "a\n\n\nb", "e▁▁te▁t"} {
		require.Equal(t, naive(b, text), words(t, tok, text), "%q", text)
	}
	b.neverCut = false
	for _, text := range []string{"the▁time▁the▁the", "e▁▁te▁t"} {
		require.Equal(t, naive(b, text), words(t, tok, text), "%q", text)
	}
}

// The worst texts must come back, and decode to what went in. (BenchmarkEncode has a megabyte of each.)
func TestPathologicalTexts(t *testing.T) {
	const size = 1 << 16
	random := make([]byte, size)
	rand.New(rand.NewSource(4)).Read(random)
	for name, text := range map[string]string{
		"one letter":   strings.Repeat("a", size),
		"spaces":       strings.Repeat(" ", size),
		"newlines":     strings.Repeat("\n", size),
		"mixed spaces": strings.Repeat(" \n\t", size/3),
		"random bytes": string(random),
		"quotes":       strings.Repeat("'", size),
		"open angles":  strings.Repeat("<|end|", size/6),
		"specials":     strings.Repeat("<|end|>", size/7),
		"upper":        strings.Repeat("ªA", size/3),
		"emoji":        strings.Repeat("🙂", size/4),
	} {
		for _, kind := range fixtures {
			t.Run(name+"/"+kind, func(t *testing.T) {
				tok := fixture(t, kind)
				ids, err := tok.Encode(context.Background(), text, EncodeOptions{NoBOS: true})
				require.NoError(t, err)
				require.True(t, ValidUTF8(text) == tok.Decode(ids, false), "the round trip changed the text")
			})
		}
	}
}

func TestEncodeIsSafeForConcurrentUse(t *testing.T) {
	tok := fixture(t, "spm")
	text := prose(20_000)
	want, err := tok.Encode(context.Background(), text, EncodeOptions{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				got, err := tok.Encode(context.Background(), text, EncodeOptions{})
				if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
					t.Error("a concurrent Encode gave something else")
				}
			}
		})
	}
	wg.Wait()
}

// The word cache is emptied when full; the ids must not notice.
func TestWordCacheOverflow(t *testing.T) {
	tok := fixture(t, "spm")
	m := newMerger(tok.bpe)
	for i := range maxCachedWords + 10 {
		m.appendWord(nil, fmt.Sprint("x", i))
	}
	require.LessOrEqual(t, len(m.cache), maxCachedWords)
	require.Equal(t, naive(tok.bpe, "▁capital"), m.appendWord([]int32{}, "▁capital"))
}

func TestInvalidUTF8(t *testing.T) {
	// Python: bytes.decode("utf-8", errors="replace").
	for in, want := range map[string]string{
		"":                        "",
		"日本":                      "日本",
		"a\xffb":                  "a�b",
		"\xe6\x97":                "�",
		"\xe6\x97x":               "�x",
		"\xe6\x97\xe6\x97\xa5":    "�日",
		"\xf0\x9f\x99":            "�",
		"\xf0\x9f\x99\xff":        "��",
		"\xed\xa0\x80":            "���", // a surrogate
		"\xc0\xaf":                "��",  // too long a form
		"\xf4\x90\x80\x80":        "����",
		"\xe0\x80\x80":            "���",
		"\x80\x80":                "��",
		"\xf0\x80":                "��",
		"ok \xef\xbf\xbd \xe2 ok": "ok � � ok",
	} {
		require.Equal(t, want, ValidUTF8(in), "%q", in)
		for _, kind := range fixtures {
			tok := fixture(t, kind)
			broken, err := tok.Encode(context.Background(), in, EncodeOptions{})
			require.NoError(t, err)
			whole, err := tok.Encode(context.Background(), want, EncodeOptions{})
			require.NoError(t, err)
			require.Equal(t, whole, broken, "%q", in)
		}
	}
}

func TestPieces(t *testing.T) {
	tok := fixture(t, "spm")
	id, ok := tok.ID("▁is")
	require.True(t, ok)
	require.Equal(t, "▁is", tok.Piece(id))
	require.Equal(t, "<0x0A>", tok.Piece(13))
	end, ok := tok.ID("<|end|>")
	require.True(t, ok)
	require.True(t, tok.IsSpecial(end))
	plain, ok := tok.ID("<|plain|>")
	require.True(t, ok)
	require.False(t, tok.IsSpecial(plain))
	require.False(t, tok.IsSpecial(id))
	require.Equal(t, 649, tok.VocabSize())
	_, ok = tok.ID("no such piece")
	require.False(t, ok)
	for _, id := range []int32{-1, 649, 1 << 30, -1 << 31} {
		require.Empty(t, tok.Piece(id))
		require.False(t, tok.IsSpecial(id))
		require.Empty(t, tok.Decode([]int32{id}, false))
	}
	_, ok = tok.BOS()
	require.False(t, ok, "tokenizer.json names no BOS")

	tok = fixture(t, "cl100k")
	id, ok = tok.ID("Ġis")
	require.True(t, ok)
	require.Equal(t, " is", tok.Piece(id))
	// four bytes that are no piece together
	half, err := tok.Encode(context.Background(), "\U00010600", EncodeOptions{})
	require.NoError(t, err)
	require.Equal(t, "<0xF0>", tok.Piece(half[0]))
}

// BOS and EOS follow tokenizer_config.json for the Llama class, and the post-processor for others (spec 5.1).
func TestBOS(t *testing.T) {
	raw, err := os.ReadFile("testdata/spm.json") // its post-processor writes <s> ... <|end|>
	require.NoError(t, err)
	const bos, end = 1, 640
	for config, want := range map[string][]int32{
		``:                                     {bos, 0, end},
		`{"tokenizer_class": "GPT2Tokenizer"}`: {bos, 0, end},
		`{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": false}`:                                                 {bos, 0, end},
		`{"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"}`:                                                    {bos, 0},
		`{"tokenizer_class": "LlamaTokenizerFast"}`:                                                                    {bos, 0},
		`{"tokenizer_class": "LlamaTokenizer", "add_bos_token": false}`:                                                {0},
		`{"tokenizer_class": "LlamaTokenizer", "add_bos_token": false, "add_eos_token": true, "eos_token": "<|end|>"}`: {0, end},
		`{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "bos_token": {"content": "<|end|>"}}`:            {end, 0},
	} {
		files := fstest.MapFS{"tokenizer.json": {Data: raw}}
		if config != "" {
			files["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(config)}
		}
		tok, err := Load(files)
		require.NoError(t, err, config)
		got, err := tok.Encode(context.Background(), "<unk>", EncodeOptions{})
		require.NoError(t, err)
		require.Equal(t, want, got, config)
		got, err = tok.Encode(context.Background(), "<unk>", EncodeOptions{NoBOS: true})
		require.NoError(t, err)
		require.Equal(t, []int32{0}, got, config)
	}

	tok, err := Load(fstest.MapFS{
		"tokenizer.json":          {Data: raw},
		"special_tokens_map.json": {Data: []byte(`{"bos_token": "<unk>", "eos_token": {"content": "<|end|>", "rstrip": true}}`)},
		"tokenizer_config.json":   {Data: []byte(`{"bos_token": "<s>", "pad_token": null}`)},
	})
	require.NoError(t, err)
	id, ok := tok.BOS()
	require.True(t, ok)
	require.EqualValues(t, 0, id, "special_tokens_map.json wins over a tokenizer_config.json without "+
		"added_tokens_decoder")
	id, ok = tok.EOS()
	require.True(t, ok)
	require.EqualValues(t, end, id)

	_, err = Load(fstest.MapFS{
		"tokenizer.json":        {Data: raw},
		"tokenizer_config.json": {Data: []byte(`{"tokenizer_class": "LlamaTokenizer", "bos_token": null}`)},
	})
	require.ErrorContains(t, err, `tokenizer_config.json: a BOS is to be added, but there is no bos_token`)
}

func TestStream(t *testing.T) {
	tok := fixture(t, "spm")
	ids := func(text string) []int32 {
		got, err := tok.Encode(context.Background(), text, EncodeOptions{NoBOS: true})
		require.NoError(t, err)
		return got
	}
	push := func(s *Stream, ids ...int32) string {
		text := ""
		for _, id := range ids {
			text += s.Push(id)
		}
		return text
	}
	// After a prompt the leading space stays; without one it is the "▁" that every text begins with, and
	// goes.
	require.Equal(t, " Berlin", push(tok.NewStream(ids("is"), true), ids("Berlin")...))
	require.Equal(t, "Berlin", push(tok.NewStream(nil, true), ids("Berlin")...))
	// A prompt of special tokens only has no text, so it leaves the space to be stripped, as decoding all of
	// it would.
	end, _ := tok.ID("<|end|>")
	require.Equal(t, "Berlin", push(tok.NewStream([]int32{end}, true), ids("Berlin")...))
	require.Equal(t, " Berlin", push(tok.NewStream([]int32{end}, false), ids("Berlin")...))

	// "🙂" is F0 9F 99 82: ids 3 + byte. Nothing shows before it is whole.
	s := tok.NewStream(ids("x"), true)
	require.Equal(t, "", push(s, 3+0xF0, 3+0x9F, 3+0x99))
	require.Equal(t, "🙂", s.Push(3+0x82))
	require.Equal(t, "", s.Flush())
	// Half of it shows as U+FFFD when a letter follows or the text ends. A skipped token ends nothing.
	s = tok.NewStream(ids("x"), true)
	require.Equal(t, "", push(s, 3+0xF0, 3+0x9F, end))
	require.Equal(t, "�� is", push(s, ids("is")...))
	require.Equal(t, "", push(s, 3+0xF0, 3+0x9F))
	require.Equal(t, "��", s.Flush())
	require.Equal(t, "", s.Flush())
	// The first broken byte breaks what is left of the run, as Hugging Face's decoders have it, and is said
	// when the run ends.
	s = tok.NewStream(ids("x"), true)
	require.Equal(t, "", push(s, 3+0xD4, 3+0x10, 3+'a'))
	require.Equal(t, "��� is", push(s, ids("is")...))
	require.Equal(t, "\n", push(s, 3+'\n', 3+0xD4))
	require.Equal(t, "", push(s, 3+'\n'))
	require.Equal(t, "��", s.Flush())
	// A character that the prompt began is completed.
	require.Equal(t, "🙂", push(tok.NewStream([]int32{3 + 0xF0, 3 + 0x9F}, true), 3+0x99, 3+0x82))
	// Ids without token say nothing.
	require.Equal(t, "", push(s, -1, 1<<20, 1<<30))
}

// Whatever the ids, streaming gives Decode's text, apart from runs of byte tokens that are not valid.
func TestStreamEqualsDecode(t *testing.T) {
	for _, kind := range fixtures {
		tok := fixture(t, kind)
		r := rand.New(rand.NewSource(5))
		for range 3000 {
			ids := make([]int32, r.Intn(20))
			for i := range ids {
				ids[i] = int32(r.Intn(tok.VocabSize() + 3))
			}
			cut, skip := r.Intn(len(ids)+1), r.Intn(2) == 0
			// Where a run of byte tokens begins with whole characters and then breaks, a stream has returned
			// these. (See Stream.)
			if kind == "spm" && wholeThenBroken(tok, ids, skip) {
				continue
			}
			full, prompt := tok.Decode(ids, skip), tok.Decode(ids[:cut], skip)
			if strings.HasSuffix(prompt, "�") {
				cut, prompt = 0, ""
			}
			s := tok.NewStream(ids[:cut], skip)
			got := ""
			for _, id := range ids[cut:] {
				piece := s.Push(id)
				require.True(t, utf8.ValidString(piece))
				got += piece
			}
			require.Equal(t, full, prompt+got+s.Flush(), "%s: %v, prompt of %d", kind, ids, cut)
		}
	}
}

// Long lists are decoded in chunks, which must not show: not at a chunk's end, not in a run of bytes over
// several.
func TestDecodeInChunks(t *testing.T) {
	tok := fixture(t, "spm")
	is, _ := tok.ID("▁is")
	for _, n := range []int{
		decodeChunk - 1, decodeChunk, decodeChunk + 1, 2*decodeChunk + 3,
		5 * decodeChunk,
	} {
		words := slices.Repeat([]int32{is}, n)
		require.Equal(t, strings.Repeat(" is", n)[1:], tok.Decode(words, false))
		newlines := slices.Repeat([]int32{3 + '\n'}, n)
		require.Equal(t, strings.Repeat("\n", n)+" is", tok.Decode(append(newlines, is), false))
		require.Equal(t, "is"+strings.Repeat("\n", n)+" is",
			tok.Decode(slices.Concat(words[:1], newlines, words[:1]), false))
		require.True(t, strings.Repeat("�", n+1)+" is" == tok.Decode(append(newlines, 3+0xD4, is), false))
		require.True(t, strings.Repeat("�", n+1) == tok.Decode(append(newlines, 3+0xD4), false))
	}
	level := fixture(t, "cl100k")
	text := strings.Repeat("中文 字x é", decodeChunk)
	ids, err := level.Encode(context.Background(), text, EncodeOptions{})
	require.NoError(t, err)
	require.True(t, text == level.Decode(ids, false))
}

// wholeThenBroken tells whether a run of byte tokens has a whole character and then a broken one.
func wholeThenBroken(tok *Tokenizer, ids []int32, skip bool) bool {
	var run []byte
	for i := 0; i <= len(ids); i++ {
		if i < len(ids) {
			piece := tok.rawPiece(ids[i])
			if c, ok := byteToken(piece); ok {
				run = append(run, c)
				continue
			}
			if piece == "" || skip && tok.special[ids[i]] {
				continue
			}
		}
		if r, _ := utf8.DecodeRune(run); len(run) > 0 && r != utf8.RuneError && !utf8.Valid(run) {
			return true
		}
		run = nil
	}
	return false
}

// manyTokens is the text of so many added tokens of 1024 bytes, each with a comma behind it.
func manyTokens(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `{"id":%d,"content":"%01024d"},`, 1000+i, i)
	}
	return out.String()
}

// What a file asks for is done or refused in words that name it.
func TestLoadRefuses(t *testing.T) {
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
		for config, want := range map[string]string{
			`{"bos_token": {"content": "<s>", "Content": "<unk>"}}`: `bos_token: the key "Content" should be "content"`,
			`{"bos_token": "<s>", "bos_token": "<unk>"}`:            `has the key "bos_token" twice`,
			`{"bos_token": "` + strings.Repeat("x", 1025) +
				`"}`: "bos_token: has 1025 bytes, more than 1024",
			"{\"bos_token\": \"\xff\"}": "is not valid UTF-8",
		} {
			_, err = Load(fstest.MapFS{"tokenizer.json": {Data: spm}, file: {Data: []byte(config)}})
			require.ErrorContains(t, err, file+": "+want)
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
