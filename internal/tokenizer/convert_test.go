package tokenizer

import (
	"fmt"
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
		"Qwen2Tokenizer", "Qwen2TokenizerFast", "RobertaTokenizer", "BartTokenizerFast", "WhisperTokenizer", "CLIPTokenizer",
		"PreTrainedTokenizerFast", "MyTokenizer",
	} {
		_, err := Load(files(class))
		require.EqualError(t, err, fmt.Sprintf("vocab.json: the tokenizer's class is %q, and without tokenizer.json only those of Llama, GPT2 "+
			"and CodeGen can be read: load it in transformers and save it, which writes tokenizer.json", class))
	}
	for _, class := range []string{"GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer", "CodeGenTokenizerFast", ""} {
		_, err := Load(files(class))
		require.ErrorContains(t, err, `vocab.json: model: the vocabulary lacks`, class)
	}
	for _, class := range []string{"GemmaTokenizer", "T5Tokenizer", "CodeLlamaTokenizer", "PreTrainedTokenizerFast"} {
		model := files(class)
		model["tokenizer.model"] = &fstest.MapFile{}
		_, err := Load(model)
		require.ErrorContains(t, err, fmt.Sprintf("tokenizer.model: the tokenizer's class is %q", class))
	}
}
