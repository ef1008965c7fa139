package cli

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/bench"
	"phi3/internal/classify"
	"phi3/internal/info"
	"phi3/internal/nexttoken"
)

// docs/json.md names every key that an answer can have, in its command's section or in the part before the
// sections.
func TestJSONIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/json.md")
	require.NoError(t, err)
	sections := map[string]string{}
	parts := strings.Split(string(text), "\n## ")
	for _, part := range parts[1:] {
		title, body, _ := strings.Cut(part, "\n")
		sections[title] = body + parts[0]
	}
	for title, answers := range map[string][]any{
		"phi3 generate":      {generated{}, generatedToken{}},
		"phi3 next-token":    {nexttoken.Report{}},
		"phi3 tokenize":      {tokenized{}},
		"phi3 models":        {cacheContents{}},
		"phi3 doctor":        {diagnosis{}},
		"phi3 bench -o json": {bench.Speeds{}, bench.Comparison{}},
		"phi3 classify":      {classify.Answer{}},
		"phi3 info":          {info.Checkpoint{}},
		"phi3 verify":        {verification{}},
		"phi3 perplexity":    {measured{}},
	} {
		require.Contains(t, sections, title)
		for _, answer := range answers {
			for _, key := range jsonKeys(reflect.TypeOf(answer), map[reflect.Type]bool{}) {
				require.Regexp(t, "[`{ ]"+regexp.QuoteMeta(key)+"[`},]", sections[title],
					"%s: the key %s is not in docs/json.md", title, key)
			}
		}
	}
}

// jsonKeys returns the JSON keys of a type and of the types that it contains.
func jsonKeys(t reflect.Type, seen map[reflect.Type]bool) (keys []string) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return jsonKeys(t.Elem(), seen)
	case reflect.Struct:
	default:
		return nil
	}
	if seen[t] { // a type may hold a list of itself
		return nil
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.Anonymous && name == "" {
			continue
		}
		if name != "" {
			keys = append(keys, name)
		}
		keys = append(keys, jsonKeys(f.Type, seen)...)
	}
	return keys
}

// tokenized is what writeTokens writes.
type tokenized struct {
	IDs    []int32  `json:"ids"`
	Pieces []string `json:"pieces"`
	Text   *string  `json:"text,omitempty"`
}
