package explore

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// keys adds the JSON keys of a type and of those in it.
func keys(t reflect.Type, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		keys(t.Elem(), into)
	case reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				into[name] = true
			}
			keys(field.Type, into)
		}
	}
}

// Every key of an answer is in docs/json.md and in the page's types.
func TestContract(t *testing.T) {
	all := map[string]bool{}
	for _, answer := range []any{
		About{}, Tokens{}, Next{}, LayersEvent{}, Contributions{}, Attention{}, CacheEvent{}, CacheEnd{},
	} {
		keys(reflect.TypeOf(answer), all)
	}
	require.Greater(t, len(all), 50)
	docs, err := os.ReadFile("../../docs/json.md")
	require.NoError(t, err)
	_, chapter, found := strings.Cut(string(docs), "\n## phi3 explore\n")
	require.True(t, found)
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	// Tokens and candidates are at the top of the page.
	chapter += string(docs[:strings.Index(string(docs), "\n## ")])
	types, err := os.ReadFile("../../web/src/api.ts")
	require.NoError(t, err)
	for key := range all {
		require.Regexp(t, "`([^`]*[^a-z_`])?"+key+"([^a-z_`][^`]*)?`", chapter, "docs/json.md")
		require.Regexp(t, regexp.MustCompile(`\b`+key+`\??: `), string(types), "api.ts")
	}
}
