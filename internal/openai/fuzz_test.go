package openai

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// No body makes the parser panic. A request is a *Error that says why, or it can be handed to the engine.
func FuzzRequest(f *testing.F) {
	s := newParser(f)
	for _, name := range []string{"testdata/responses.golden", "testdata/mistakes.golden"} {
		golden, err := os.ReadFile(name)
		require.NoError(f, err)
		for line := range strings.Lines(string(golden)) {
			if request, ok := strings.CutPrefix(line, "> "); ok {
				endpoint, body, _ := strings.Cut(request, " ")
				f.Add(endpoint, []byte(body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, endpoint string, body []byte) {
		var err error
		switch endpoint {
		case "tokenize":
			_, err = s.Tokenize(t.Context(), body)
		case "detokenize":
			_, err = s.Detokenize(t.Context(), body)
		default:
			var a *Answer
			where := map[bool]Endpoint{true: Chat, false: Completion}[endpoint == "chat"]
			if a, err = s.read(t.Context(), where, string(body)); err == nil {
				require.NotEmpty(t, a.prompts)
				require.LessOrEqual(t, a.Stats().Choices, maxChoices)
				require.NoError(t, a.request.config.Check())
				for _, p := range a.prompts {
					require.NoError(t, s.Codec.Check(p.ids, s.Config.VocabSize))
					require.LessOrEqual(t, len(p.ids)+p.most, s.Context+1)
				}
			}
		}
		if err != nil {
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, []int{400, 404}, e.Status)
			_, err = json.Marshal(e)
			require.NoError(t, err)
		}
	})
}
