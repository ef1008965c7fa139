//go:build !race

package tokenizer

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/strictjson/jsontest"
)

// TestLoadMutants loads every variant of every file of a tokenizer in which one value is something else.
func TestLoadMutants(t *testing.T) {
	config := []byte(`{"tokenizer_class":"LlamaTokenizer","add_bos_token":true,"add_eos_token":false,"bos_token":{"content":"<s>","special":true},` +
		`"eos_token":"<|end|>","chat_template":[{"name":"default","template":"{{ bos_token }}{{ messages[0].content }}"}]}`)
	n := 0
	for _, name := range fixtures {
		raw, err := os.ReadFile("testdata/" + name + ".json")
		require.NoError(t, err)
		for _, text := range jsontest.Mutants(raw, 9) {
			loadAndUse(t, fstest.MapFS{"tokenizer.json": {Data: text}})
			n++
		}
		if name != "spm" {
			continue
		}
		for _, text := range jsontest.Mutants(config, 9) {
			loadAndUse(t, fstest.MapFS{"tokenizer.json": {Data: raw}, "tokenizer_config.json": {Data: text}})
			loadAndUse(t, fstest.MapFS{
				"tokenizer.json":          {Data: raw},
				"special_tokens_map.json": {Data: text},
			})
			n += 2
		}
	}
	require.Greater(t, n, 5000)
}
