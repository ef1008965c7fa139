package explore

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/openai"
)

// No body makes the parsers panic. A request is an *openai.Error that a browser can read, or one that the
// engine takes.
func FuzzBodies(f *testing.F) {
	e := newParser(f)
	parsers := e.parsers()
	hostile := []string{
		"", "null", "[]", "0", `"`, "{", "{}", `{"ids":[`, `{"ids": [1], "ids": [2]}`, `{"ids": [1e9]}`,
		`{"ids": [2559, -0, 1.0]}`, `{"ids": null}`, `{"ids": [4294967297]}`, `{"ids": [[1]]}`,
		`{"ids": [1], "sampling": {"temperature": 1e-46, "top_p": -0}}`, `{"ids": [1], "from": 9223372036854775808}`,
		`{"ids": [1], "sampling": {"sampling": {}}}`, `{"ids": [1], "top": -9223372036854775808}`,
		`{"ids": [1, 1], "layer": 4, "from": 1}`, `{"ids": [1], "max_new_tokens": 256}`,
		`{"ids": [1], "tokens": [0, 2559]}`, `{"ids": [1], "generated": 1, "model": "phi3-demo"}`,
		`{"text": "\u0000\ud83d\ude42\u202e</script>", "chat": true}`, `{"text": "\ud83d"}`, "{\"text\": \"\xff\"}",
		`{"text": "a", "__proto__": {}}`, `{"text\u0000": 1}`, strings.Repeat(`{"sampling":`, 2000),
		`{"ids": [` + strings.Repeat("1,", 600) + `1]}`, "\ufeff{}", `{"ids": [1]} {"ids": [1]}`,
	}
	for endpoint := range parsers {
		for _, body := range hostile {
			f.Add(endpoint, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, endpoint string, body []byte) {
		parse := parsers[endpoint]
		if parse == nil {
			return
		}
		r, err := parse(body)
		if err != nil {
			var known *openai.Error
			require.ErrorAs(t, err, &known)
			require.Contains(t, []int{400, 404}, known.Status)
			require.NotEmpty(t, known.Message)
			_, err = json.Marshal(known)
			require.NoError(t, err)
			return
		}
		e.checkRequest(t, r)
	})
}

// checkRequest checks what the methods of an Explorer take for granted.
func (e *Explorer) checkRequest(t *testing.T, r any) {
	t.Helper()
	readable := func(ids []int32) {
		require.NotEmpty(t, ids)
		require.LessOrEqual(t, len(ids), e.Context)
		require.NoError(t, e.Codec.Check(ids, e.Config.VocabSize))
	}
	shown := func(from, tokens int) {
		require.GreaterOrEqual(t, from, max(0, tokens-MaxPositions))
		require.Less(t, from, tokens)
	}
	switch r := r.(type) {
	case TokensRequest:
		require.LessOrEqual(t, len(r.IDs), e.Context)
		require.False(t, r.IDs != nil && (r.Text != "" || r.Chat))
		_, _, err := e.read(t.Context(), r)
		require.True(t, err == nil || openai.AsError(err).Status == 400, err)
	case NextRequest:
		readable(r.IDs)
		require.True(t, r.Top >= 1 && r.Top <= maxTop)
		require.True(t, r.Generated >= 0 && r.Generated <= len(r.IDs))
		if config, err := e.config(&r.Sampling); err == nil {
			require.NoError(t, config.Check())
		} else {
			require.Equal(t, 400, openai.AsError(err).Status)
		}
	case LayersRequest:
		readable(r.IDs)
		shown(r.From, len(r.IDs))
	case AttentionRequest:
		readable(r.IDs)
		shown(r.From, len(r.IDs))
		require.True(t, r.Layer >= 1 && r.Layer <= e.Config.Layers)
	case ContributionsRequest:
		readable(r.IDs)
		require.True(t, len(r.Tokens) >= 1 && len(r.Tokens) <= maxTargets)
		require.NoError(t, e.Codec.Check(r.Tokens, e.Config.VocabSize))
	case CacheRequest:
		readable(r.IDs)
		require.True(t, r.MaxNewTokens >= 1 && r.MaxNewTokens <= maxNew)
	default:
		t.Fatalf("%T", r)
	}
}
