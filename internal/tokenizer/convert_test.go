package tokenizer

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Without tokenizer.json, a class that has a converter of its own in transformers is refused by name.
func TestClassWithoutConverter(t *testing.T) {
	files := func(class string) fstest.MapFS {
		return fstest.MapFS{
			"tokenizer_config.json": {Data: []byte(fmt.Sprintf(`{"tokenizer_class": %q}`, class))},
			"vocab.json":            {Data: []byte(`{}`)},
			"merges.txt":            {Data: []byte("#version: 0.2\n")},
		}
	}
	for _, class := range []string{
		"Qwen2Tokenizer", "Qwen2TokenizerFast", "RobertaTokenizer", "BartTokenizerFast", "WhisperTokenizer",
		"CLIPTokenizer",
		"PreTrainedTokenizerFast", "MyTokenizer",
	} {
		_, err := Load(files(class))
		require.EqualError(t, err, fmt.Sprintf("vocab.json: the tokenizer's class is %q, and without "+
			"tokenizer.json only those of Llama, GPT2 "+
			"and CodeGen can be read: load it in transformers and save it, which writes tokenizer.json",
			class))
	}
	for _, class := range []string{
		"GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer",
		"CodeGenTokenizerFast", "",
	} {
		_, err := Load(files(class))
		require.ErrorContains(t, err, `vocab.json: model: the vocabulary lacks`, class)
	}
	for _, class := range []string{
		"GemmaTokenizer", "T5Tokenizer", "CodeLlamaTokenizer",
		"PreTrainedTokenizerFast",
	} {
		model := files(class)
		model["tokenizer.model"] = &fstest.MapFile{}
		_, err := Load(model)
		require.ErrorContains(t, err, fmt.Sprintf("tokenizer.model: the tokenizer's class is %q", class))
	}
}

// The Llama class puts the unknown token where a BOS or an EOS has an empty name, as transformers 4.57 does.
func TestEmptyBOS(t *testing.T) {
	spm, err := os.ReadFile("testdata/spm.json")
	require.NoError(t, err)
	load := func(config string) (*Tokenizer, error) {
		return Load(fstest.MapFS{
			"tokenizer.json":        {Data: spm},
			"tokenizer_config.json": {Data: []byte(config)},
		})
	}
	tok, err := load(`{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "add_eos_token": true, "bos_token": "", "eos_token": ""}`)
	require.NoError(t, err)
	ids, err := tok.Encode(context.Background(), " The  capital\n日 x", EncodeOptions{})
	require.NoError(t, err)
	require.Equal(t, []int32{0, 329, 287, 332, 329, 292, 383, 260, 233, 154, 168, 325, 310, 0}, ids)
	for _, config := range []string{
		`{"tokenizer_class": "LlamaTokenizer", "bos_token": null}`,
		`{"tokenizer_class": "LlamaTokenizer", "bos_token": "", "unk_token": null}`,
	} {
		_, err = load(config)
		require.ErrorContains(t, err, "a BOS is to be added, but there is no bos_token")
	}
}
