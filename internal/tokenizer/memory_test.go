//go:build !race

package tokenizer

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Whatever a tokenizer's files say, loading them takes a small multiple of their size. (All that is ever
// allocated is counted; what is in use at a time is less.)
func TestMemoryIsInProportion(t *testing.T) {
	const multiple = 40
	spm, err := os.ReadFile("testdata/spm.json")
	require.NoError(t, err)
	// with puts text behind the beginning of a list or object of the file.
	with := func(opening, text string) []byte {
		require.Contains(t, string(spm), opening)
		return bytes.Replace(spm, []byte(opening), []byte(opening+text), 1)
	}
	const n = 200_000
	for name, raw := range map[string][]byte{
		"tokens":             with(`"vocab":{`, many(n, `"t%06d":1,`)),
		"tokens with ids":    with(`"vocab":{`, manyIDs(n)),
		"colons in a token":  with(`"vocab":{`, `"`+strings.Repeat(":", 1<<20)+`":700,`),
		"merges":             with(`"merges":[`, strings.Repeat(`"a b",`, n)),
		"commas in a merge":  with(`"merges":[`, `"`+strings.Repeat(",", 1<<20)+` b",`),
		"merges of lists":    with(`"merges":[`, strings.Repeat(`["a","b"],`, n)),
		"added tokens":       with(`"added_tokens":[`, strings.Repeat(`{},`, n)),
		"added long tokens":  with(`"added_tokens":[`, manyTokens(1000)),
		"normalizers":        with(`"normalizers":[`, strings.Repeat(`{},`, n)),
		"decoders":           with(`"decoders":[`, strings.Repeat(`{},`, n)),
		"unknown lists":      with(`{`, `"x":[`+strings.Repeat(`[],`, n)+`0],`),
		"truncation":         with(`{`, `"truncation":[`+strings.Repeat(`{},`, n)+`0],`),
		"parts":              with(`"single":[`, strings.Repeat(`{},`, n)),
		"special tokens":     with(`"special_tokens":{`, many(n, `"s%d":{},`)),
		"ids of one special": with(`"ids":[`, strings.Repeat("1,", n)),
		"ids of many parts":  with(`"single":[`, strings.Repeat(`{"SpecialToken":{"id":"<s>"}},`, 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			got := allocated(func() { _, _ = Load(fstest.MapFS{"tokenizer.json": {Data: raw}}) })
			t.Logf("%5.1f", float64(got)/float64(len(raw)))
			require.Less(t, got, multiple*len(raw)+maxAdded*256)
		})
	}
	for name, raw := range map[string]string{
		"keys":           `{` + many(n, `"k%d":0,`) + `"x":0}`,
		"a long token":   `{"bos_token":"` + strings.Repeat("x", 1<<20) + `"}`,
		"named template": `{"chat_template":[` + strings.Repeat(`{},`, n) + `{}]}`,
	} {
		for _, file := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
			got := allocated(func() {
				_,
					_ = Load(fstest.MapFS{"tokenizer.json": {Data: spm}, file: {Data: []byte(raw)}})
			})
			t.Logf("%s, %s: %5.1f", file, name, float64(got)/float64(len(raw)))
			require.Less(t, got, multiple*len(raw), "%s, %s", file, name)
		}
	}
}

// manyIDs is the text of n tokens with ids of their own.
func manyIDs(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `"t%06d":%d,`, i, 1000+i)
	}
	return out.String()
}

// many writes form with each number below n.
func many(n int, form string) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, form, i)
	}
	return out.String()
}
