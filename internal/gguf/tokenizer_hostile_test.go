package gguf

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
	"phi3/internal/tokenizer"
)

// smallSPM is the metadata of a small tokenizer of the SentencePiece kind.
func smallSPM() []KV {
	tokens := []string{"<unk>", "<s>", "</s>"}
	types := []int32{unknownToken, controlToken, userToken}
	for c := range 256 {
		tokens, types = append(tokens, fmt.Sprintf("<0x%02X>", c)), append(types, byteToken)
	}
	for _, piece := range []string{"▁a", "▁ab", "▁", "a", "b"} {
		tokens, types = append(tokens, piece), append(types, normalToken)
	}
	tokens, types = append(tokens, "<|end|>", "[PAD265]"), append(types, controlToken, unusedToken)
	scores := make([]float32, len(tokens))
	for id := range scores {
		scores[id] = -float32(id)
	}
	return []KV{
		{modelKey, spmModel},
		{tokensKey, tokens},
		{scoresKey, scores},
		{tokenTypeKey, types},
		{"tokenizer.ggml.eos_token_id", uint32(264)},
		{addBOSKey, true},
		{templateKey, "{{ messages[0].content }}"},
	}
}

// smallBPE is the metadata of a small tokenizer of the byte-level kind.
func smallBPE(t testing.TB) []KV {
	raw, err := os.ReadFile("../tokenizer/testdata/o200k.json")
	require.NoError(t, err)
	metadata, err := TokenizerMetadata(fstest.MapFS{"tokenizer.json": {Data: raw}}, 700)
	require.NoError(t, err)
	return metadata
}

// with replaces the value of a key, or adds the key. Without a value it removes the key.
func with(metadata []KV, key string, value any) []KV {
	changed := slices.DeleteFunc(slices.Clone(metadata), func(kv KV) bool { return kv.Key == key })
	if value == nil {
		return changed
	}
	return append(changed, KV{key, value})
}

// edit returns a copy of a list of the metadata, changed.
func edit[T any](metadata []KV, key string, change func(list []T) []T) []KV {
	for _, kv := range metadata {
		if kv.Key == key {
			return with(metadata, key, change(slices.Clone(kv.Value.([]T))))
		}
	}
	panic(key)
}

func set[T any](i int, value T) func([]T) []T {
	return func(list []T) []T {
		list[i] = value
		return list
	}
}

// Metadata that contradicts itself is refused with an error that names the key.
func TestHostileTokenizers(t *testing.T) {
	spm, bpe := smallSPM(), smallBPE(t)
	_, err := tokenizer.Load(withMetadata(t, spm))
	require.NoError(t, err)
	shorter := func(list []int32) []int32 { return list[1:] }
	for want, metadata := range map[string][]KV{
		`key tokenizer.ggml.model is "t5"; phi3 reads tokenizers of the kinds "llama" and "gpt2"`: with(
			spm, modelKey, "t5"),
		`key tokenizer.ggml.model is a u32, not a string`: with(spm, modelKey, uint32(1)),
		`key tokenizer.ggml.pre is "qwen2"; phi3 knows how these cut text into words: dbrx, gpt-2, gpt-4o, ` +
			`llama-bpe, llama-v3, llama3, phi-2, smaug-bpe`: with(bpe, preKey, "qwen2"),
		`key tokenizer.ggml.pre is ""; phi3 knows how these cut text into words: dbrx, gpt-2, gpt-4o, llama-bpe, ` +
			`llama-v3, llama3, phi-2, smaug-bpe`: with(bpe, preKey, nil),
		`key tokenizer.ggml.tokens is missing, and a tokenizer of this kind needs it`: with(spm, tokensKey, nil),
		`key tokenizer.ggml.scores is missing, and a tokenizer of this kind needs it`: with(spm, scoresKey, nil),
		`key tokenizer.ggml.merges is missing, and a tokenizer of this kind needs it`: with(bpe, mergesKey, nil),
		`key tokenizer.ggml.token_type has 265 elements, but tokenizer.ggml.tokens has 266`: edit(
			spm, tokenTypeKey, shorter),
		`key tokenizer.ggml.token_type has the type 7 for token 3 ("<0x00>"), which GGUF does not have`: edit(
			spm, tokenTypeKey, set(3, int32(7))),
		`key tokenizer.ggml.scores has 1 elements, but tokenizer.ggml.tokens has 266`: with(
			spm, scoresKey, []float32{1}),
		`key tokenizer.ggml.scores has NaN for token 9 ("<0x06>")`: edit(spm, scoresKey,
			set(9, float32(math.NaN()))),
		`key tokenizer.ggml.tokens has an empty token: number 260`:       edit(spm, tokensKey, set(260, "")),
		`key tokenizer.ggml.tokens has "a" twice, as tokens 262 and 263`: edit(spm, tokensKey, set(263, "a")),
		`keys tokenizer.ggml.*: model: the vocabulary lacks "<0x00>", the token of byte 0`: edit(
			spm, tokensKey, set(3, "x")),
		`keys tokenizer.ggml.*: added_tokens, entry 3: token "a" has id 264 here and 262 in the vocabulary`: edit(
			spm, tokensKey, set(264, "a")),
		`key tokenizer.ggml.tokens cannot be used: piece 260 has 300 bytes, more than 256`: edit(
			spm, tokensKey, set(260, strings.Repeat("x", 300))),
		`key tokenizer.ggml.merges has "ab" as number 2, which is not two parts with a space between`: edit(
			bpe, mergesKey, set(2, "ab")),
		`key tokenizer.ggml.merges has "a b c" as number 2, which is not two parts with a space between`: edit(
			bpe, mergesKey, set(2, "a b c")),
		`keys tokenizer.ggml.*: model: merge 2 ("a" + "☃") names a token outside the vocabulary`: edit(
			bpe, mergesKey, set(2, "a ☃")),
		`key tokenizer.ggml.eos_token_id is 266, not in 0 … 265, the ids of tokenizer.ggml.tokens`: with(
			spm, "tokenizer.ggml.eos_token_id", uint32(266)),
		`key tokenizer.ggml.mask_token_id is -1, not in 0 … 265, the ids of tokenizer.ggml.tokens`: with(
			spm, "tokenizer.ggml.mask_token_id", int32(-1)),
		`key tokenizer.ggml.add_bos_token is true, but the file does not have such a token`: with(
			bpe, addBOSKey, true),
		`key tokenizer.ggml.add_space_prefix is a u8, not a bool`: with(spm, prefixKey, uint8(1)),
		`key tokenizer.chat_template is a bool, not a string`:     with(spm, templateKey, true),
		`key tokenizer.added_tokens_decoder has "x" as token 264, but tokenizer.ggml.tokens has "<|end|>"`: with(
			spm, flagsKey, `{"264": {"content": "x"}}`),
		`key tokenizer.added_tokens_decoder has the key "262", which is not the id of an added token`: with(
			spm, flagsKey, `{"262": {"content": "a"}}`),
		`key tokenizer.ggml.token_type has 65537 tokens that were added to the vocabulary, over the limit of 65536`: with(
			with(with(spm, tokensKey, slices.Repeat([]string{"<|a|>"}, 1<<16+1)), tokenTypeKey,
				slices.Repeat([]int32{controlToken}, 1<<16+1)), scoresKey, make([]float32, 1<<16+1)),
		`key tokenizer.added_tokens_decoder cannot be read: is not valid JSON: line 1, column 1 has 'x' where ` +
			`a value belongs`: with(spm, flagsKey, `x`),
	} {
		_, err := tokenizer.Load(withMetadata(t, metadata))
		require.EqualError(t, err, "the GGUF file: "+want)
	}
	tok, err := tokenizer.Load(withMetadata(t, with(spm, templateKey, "{% if %}")))
	require.NoError(t, err) // as in a directory: only a chat needs the template
	_, err = tok.ApplyChatTemplate(context.Background(), nil, true)
	require.ErrorContains(t, err, "the GGUF file: key tokenizer.chat_template: chat template: ")
	_, err = tokenizer.Load(withMetadata(t, with(spm, modelKey, nil)))
	require.ErrorContains(t, err, "keys tokenizer.ggml.* give no tokenizer (file does not exist)")
}

// The pieces of a hostile vocabulary can be cut in two in very many places.
func TestHostileMerges(t *testing.T) {
	race.SkipAlone(t)
	spm := smallSPM()
	tokens, types := spm[1].Value.([]string), spm[3].Value.([]int32)
	for n := range 1 << 17 {
		tokens = append(tokens, strings.Repeat("a", 64)+strconv.Itoa(n))
		types = append(types, normalToken)
	}
	spm = with(with(spm, tokensKey, tokens), tokenTypeKey, types)
	spm = with(spm, scoresKey, make([]float32, len(tokens)))
	_, err := tokenizer.Load(withMetadata(t, spm))
	require.EqualError(t, err, "the GGUF file: key tokenizer.ggml.tokens cannot be used: its pieces have "+
		"more than 1048576 places to cut them in two")
}

// What a file does not say is as in llama.cpp and Hugging Face.
func TestTokenizerDefaults(t *testing.T) {
	encode := func(metadata []KV, text string) []int32 {
		tok, err := tokenizer.Load(withMetadata(t, metadata))
		require.NoError(t, err)
		ids, err := tok.Encode(context.Background(), text, tokenizer.EncodeOptions{})
		require.NoError(t, err)
		return ids
	}
	spm := smallSPM()
	require.Equal(t, []int32{1, 260, 264, 259}, encode(spm, "ab<|end|>  \n a"))
	// a space in front of each text, and BOS
	bare := with(spm, addBOSKey, nil)
	require.Equal(t, []int32{1, 260}, encode(bare, "ab"))
	require.Equal(t, []int32{262, 263}, encode(with(with(bare, prefixKey, false), addBOSKey, false), "ab"))
	require.Equal(t, []int32{1, 260, 264}, encode(with(spm, addEOSKey, true), "ab"))
	// without types nothing is special but the named tokens
	require.Equal(t, []int32{259}, encode(with(with(bare, tokenTypeKey, nil), addBOSKey, false), "a"))
	// Phi-3 of April 2024: </s> is a control token, and no white space is swallowed
	april := edit(spm, tokenTypeKey, set(2, int32(controlToken)))
	require.Equal(t, []int32{1, 264, 261, 13, 259}, encode(april, "<|end|>\n a"))
	require.Equal(t, []int32{1, 2, 259}, encode(spm, "</s>\n a"))
}

// llama.cpp swallows white space after special tokens by the model's name, so the name follows the tokens.
func TestModelName(t *testing.T) {
	demo, err := TokenizerMetadata(os.DirFS(demoDir), 2560)
	require.NoError(t, err)
	for _, x := range []struct {
		title, want string
		metadata    []KV
	}{
		{"Phi-3-mini", "Phi-3-mini", demo},
		{"my-phi3", "my-phi3", demo},
		{"mine", "mine (Phi-3)", demo},
		{"Phi-3-mini", "Phi 3-mini", smallSPM()}, // without <|endoftext|> llama.cpp would not load it
		{"a.phi3", "a.phi 3", smallBPE(t)},
		{"mine", "mine", smallBPE(t)},
	} {
		got, err := ModelName(x.title, x.metadata)
		require.NoError(t, err)
		require.Equal(t, x.want, got)
	}
}

// FuzzTokenizer: any metadata gives a tokenizer that works or an error, and never a panic.
func FuzzTokenizer(f *testing.F) {
	for _, metadata := range [][]KV{smallSPM(), smallBPE(f)} {
		head, _, err := makeHeader(metadata, nil)
		require.NoError(f, err)
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		h, err := parse("a.gguf", head)
		if err != nil {
			return
		}
		c := &Checkpoint{Meta: h.meta}
		c.view.tokenizer = func() (map[string][]byte, error) { return tokenizerFiles(&c.Meta) }
		tok, err := tokenizer.Load(c)
		if err != nil {
			return
		}
		ids, err := tok.Encode(context.Background(), "ab <|end|>\n a\xff日", tokenizer.EncodeOptions{})
		require.NoError(t, err)
		_ = tok.Decode(ids, true)
		chat := []tokenizer.Message{{Role: "user", Content: "a"}}
		_, _ = tok.ApplyChatTemplate(context.Background(), chat, true)
	})
}
