package tokenizer

import (
	"context"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
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
	race.SkipAlone(t)
	check := func(t *testing.T, tok *Tokenizer, rounds int) {
		r := rand.New(rand.NewSource(3))
		pieces := slices.Sorted(maps.Keys(tok.bpe.vocab)) // so that the texts are the same each time
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
	race.SkipAlone(t)
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
	require.EqualValues(t, -1, tok.bos, "tokenizer.json names no BOS")

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
	require.EqualValues(t, 0, tok.bos, "special_tokens_map.json wins over a tokenizer_config.json without "+
		"added_tokens_decoder")
	require.EqualValues(t, end, tok.eos)

	_, err = Load(fstest.MapFS{
		"tokenizer.json":        {Data: raw},
		"tokenizer_config.json": {Data: []byte(`{"tokenizer_class": "LlamaTokenizer", "bos_token": null}`)},
	})
	require.ErrorContains(t, err, `tokenizer_config.json: a BOS is to be added, but there is no bos_token`)
}
