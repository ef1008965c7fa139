package explore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/openai"
)

// parsers reads the bodies of all endpoints.
func (e *Explorer) parsers() map[string]func(body []byte) (any, error) {
	return map[string]func(body []byte) (any, error){
		"tokens":        func(body []byte) (any, error) { return e.parseTokens(body) },
		"next":          func(body []byte) (any, error) { return e.parseNext(body) },
		"layers":        func(body []byte) (any, error) { return e.parseLayers(body) },
		"contributions": func(body []byte) (any, error) { return e.parseContributions(body) },
		"attention":     func(body []byte) (any, error) { return e.parseAttention(body) },
		"cache":         func(body []byte) (any, error) { return e.parseCache(body) },
	}
}

func TestParse(t *testing.T) {
	e := newParser(t)
	ids := make([]int32, 200)
	list := strings.TrimSuffix(strings.Repeat("0,", len(ids)), ",")
	for body, want := range map[string]any{
		`tokens {"text": "", "chat": true, "model": "phi3-demo"}`: TokensRequest{Chat: true},
		`tokens {"ids": []}`:                                          TokensRequest{IDs: []int32{}},
		`layers {"ids": [1, 2559]}`:                                   LayersRequest{IDs: []int32{1, 2559}},
		`layers {"ids": [` + list + `]}`:                              LayersRequest{ids, 72},
		`layers {"ids": [` + list + `], "from": 72}`:                  LayersRequest{ids, 72},
		`layers {"ids": [` + list + `], "from": 73}`:                  LayersRequest{ids, 73},
		`attention {"ids": [` + list + `], "layer": 4}`:               AttentionRequest{ids, 4, 72},
		`contributions {"ids": [1], "tokens": [7]}`:                   ContributionsRequest{[]int32{1}, []int32{7}},
		`cache {"ids": [1], "max_new_tokens": 256}`:                   CacheRequest{[]int32{1}, 256},
		`next {"ids": [1], "generated": null, "sampling": {}}`:        NextRequest{[]int32{1}, 0, 40, e.sampling(), nil},
		`next {"ids": [1], "top": 9, "sampling": {"temperature": 0}}`: NextRequest{[]int32{1}, 0, 9, greedy(e), nil},
		`next {"ids": [1], "draw": 0.5}`: NextRequest{
			IDs: []int32{1}, Top: 40, Sampling: e.sampling(), Draw: new(0.5),
		},
	} {
		endpoint, body, _ := strings.Cut(body, " ")
		r, err := e.parsers()[endpoint]([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, r, body)
	}
}

func greedy(e *Explorer) Sampling {
	s := e.sampling()
	s.Temperature = 0
	return s
}

// An error names the parameter.
func TestParseErrors(t *testing.T) {
	e := newParser(t)
	for _, c := range []struct{ endpoint, body, param, message string }{
		{"tokens", ``, "", "The body of the request is empty. Send a JSON object."},
		{"tokens", `[]`, "", "The body of the request is not a JSON object."},
		{"tokens", `{"text": "a", "text": "b"}`, "", `The body of the request has the key "text" twice.`},
		{"tokens", `{"Text": "a"}`, "Text", "Unrecognized request argument supplied: Text"},
		{"tokens", `{"text": "\ud800"}`, "", "without its other half"},
		{"tokens", `{"text": 5}`, "text", "text is a number, not a string."},
		{"tokens", `{}`, "text", "text is missing. It must be a string."},
		{"tokens", `{"text": "a", "ids": [1]}`, "ids", "ids is given with text. Give one of them."},
		{"tokens", `{"ids": [1], "chat": true}`, "chat", "chat is only for text, not for ids."},
		{"tokens", `{"text": "a", "model": "gpt"}`, "model", "The model `gpt` does not exist."},
		{"*", `{}`, "ids", "ids is empty. It must have at least one token id."},
		{"*", `{"ids": []}`, "ids", "ids is empty. It must have at least one token id."},
		{"*", `{"ids": [2560]}`, "ids", "ids has the token id 2560; the model's ids are 0 … 2559."},
		{"*", `{"ids": [-1]}`, "ids", "ids has the token id -1; the model's ids are 0 … 2559."},
		{"*", `{"ids": [1.5]}`, "ids[0]", "ids[0] is 1.5, not a token id."},
		{"*", `{"ids": "1"}`, "ids", "ids is not a list."},
		{
			"*", `{"ids": [` + strings.Repeat("1,", 512) + `1]}`, "ids",
			"ids has 513 tokens; the model's context has 512.",
		},
		{"next", `{"ids": [1], "generated": 2}`, "generated", "generated is 2, not in 0 … 1."},
		{"next", `{"ids": [1], "top": 201}`, "top", "top is 201, not in 1 … 200."},
		{"next", `{"ids": [1], "sampling": 1}`, "sampling", "sampling is not a JSON object."},
		{
			"next", `{"ids": [1], "sampling": {"top_q": 1}}`, "sampling.top_q",
			"Unrecognized request argument supplied: sampling.top_q",
		},
		{
			"next", `{"ids": [1], "sampling": {"top_k": 1, "top_k": 1}}`, "sampling",
			`sampling has the key "top_k" twice.`,
		},
		{
			"next", `{"ids": [1], "sampling": {"temperature": 1e39}}`, "sampling.temperature",
			"sampling.temperature is the number 1e39, not one that 32 bits hold.",
		},
		{"layers", `{"ids": [1], "from": 1}`, "from", "from is 1, not in 0 … 0."},
		{
			"layers", `{"ids": [` + strings.Repeat("0, ", 199) + `0], "from": 71}`, "from",
			"from is 71, so 129 positions follow. At most 128 are shown: from must be 0 or at least 72.",
		},
		{"attention", `{"ids": [1], "layer": 5}`, "layer", "layer is 5, not in 1 … 4."},
		{"attention", `{"ids": [1], "layer": 1, "from": -1}`, "from", "from is -1, not in 0 … 0."},
		{"contributions", `{"ids": [1]}`, "tokens", "tokens has 0 ids, not 1 … 16."},
		{
			"contributions", `{"ids": [1], "tokens": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}`, "tokens",
			"tokens has 17 ids, not 1 … 16.",
		},
		{"cache", `{"ids": [1]}`, "max_new_tokens", "max_new_tokens is 0, not in 1 … 256."},
	} {
		for endpoint, parse := range e.parsers() {
			if c.endpoint != endpoint && (c.endpoint != "*" || endpoint == "tokens") {
				continue
			}
			_, err := parse([]byte(c.body))
			var known *openai.Error
			require.ErrorAs(t, err, &known, c.body)
			require.Contains(t, known.Message, c.message)
			param := ""
			if known.Param != nil {
				param = *known.Param
			}
			require.Equal(t, c.param, param, c.body)
			require.Contains(t, []int{400, 404}, known.Status)
		}
	}
}
