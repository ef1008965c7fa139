package tokenizer

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Difference finds a change of each property that ids, texts and chats depend on.
func TestDifference(t *testing.T) {
	spm, err := os.ReadFile("testdata/spm.json")
	require.NoError(t, err)
	const config = `{"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ bos_token }}{{ image_token }}",
		"pad_token": "<s>", "extra_special_tokens": {"image_token": "<s>"}}`
	load := func(edits ...string) *Tokenizer {
		r := strings.NewReplacer(edits...)
		tok, err := Load(fstest.MapFS{
			"tokenizer.json":        {Data: []byte(r.Replace(string(spm)))},
			"tokenizer_config.json": {Data: []byte(r.Replace(config))},
		})
		require.NoError(t, err)
		return tok
	}
	require.NoError(t, load().Difference(load()))
	for want, edits := range map[string][]string{
		"the decoder":    {`"start":1`, `"start":0`, `"start": 1`, `"start": 0`},
		"the normalizer": {`"prepend":"▁"`, `"prepend":"▁▁"`, `"prepend": "▁"`, `"prepend": "▁▁"`},
		"split_special_tokens": {
			`"pad_token"`, `"split_special_tokens": true, "pad_token"`,
		},
		"the tokens around a text": {`"pad_token"`, `"add_bos_token": false, "pad_token"`},
		`the added token "<|end|>"`: {
			`"pad_token"`, `"added_tokens_decoder": {"640": {"content": "<|end|>"}}, "pad_token"`,
		},
		"pad_token, a variable of the chat template":   {`"pad_token": "<s>"`, `"pad_token": "</s>"`},
		"image_token, a variable of the chat template": {`{"image_token": "<s>"}`, `{"image_token": "</s>"}`},
		`the chat template "default"`:                  {`"{{ bos_token }}`, `"{{  bos_token }}`},
		"the number of chat templates":                 {`"chat_template"`, `"no_template"`},
	} {
		require.EqualError(t, load().Difference(load(edits...)), want)
		require.Error(t, load(edits...).Difference(load()), want)
	}
	gpt2 := fixture(t, "cl100k")
	require.EqualError(t, load().Difference(gpt2), "the decoder")
	require.EqualError(t, gpt2.Difference(fixture(t, "o200k")), "the pre_tokenizer")
}

// Of the ways to make a piece, the lower left id comes first: as in Phi-3's tokenizer.json.
func TestMergesOf(t *testing.T) {
	pieces := []string{"", "", "", "a", "b", "ab", "ba", "aba", "x"}
	vocab := map[string]int32{}
	for id, p := range pieces {
		vocab[p] = int32(id)
	}
	merges, err := MergesOf(pieces, []float32{0, 0, 0, 0, 0, -2, -1, -3, 0}, vocab)
	require.NoError(t, err)
	require.Equal(t, [][2]string{{"b", "a"}, {"a", "b"}, {"a", "ba"}, {"ab", "a"}}, merges)
}
