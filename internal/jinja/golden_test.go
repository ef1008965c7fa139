package jinja

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// golden is one template with what transformers made of it.
type golden struct {
	Name     string          `json:"name"`
	Template string          `json:"template"`
	Messages json.RawMessage `json:"messages"`
	AGP      bool            `json:"agp"`
	Text     *string         `json:"text"`
	Error    string          `json:"error"`
}

// TestTemplateGoldens compares with what transformers 4.57.6 rendered: 155 templates, 1,320 cases.
func TestTemplateGoldens(t *testing.T) {
	race.SkipAlone(t)
	raw, err := os.ReadFile(filepath.Join(os.Getenv("PHI3_DATA"), "template_golden.json"))
	if err != nil {
		t.Skip("PHI3_DATA has no template_golden.json")
	}
	var cases []golden
	require.NoError(t, json.Unmarshal(raw, &cases))
	bad := 0
	for _, c := range cases {
		messages, err := FromJSON(string(c.Messages))
		require.NoError(t, err)
		variables := NewDict()
		for _, v := range []entry{
			{"messages", messages},
			{"tools", nil},
			{"documents", nil},
			{"add_generation_prompt", c.AGP},
			{"bos_token", "<s>"},
			{"eos_token", "<|endoftext|>"},
			{"unk_token", "<unk>"},
			{"pad_token", "<|endoftext|>"},
		} {
			variables.Set(v.key, v.value)
		}
		got, err := render(t, c.Template, variables)
		if problem := differs(c, got, err); problem != "" {
			if bad++; bad < 40 {
				t.Errorf("%s %q %s: %s", c.Name, c.Template, c.Messages, problem)
			}
		}
	}
	require.NotEmpty(t, cases)
}

// differs describes how a result differs from the golden; "" if it does not.
func differs(c golden, got string, err error) string {
	switch {
	case c.Text != nil && err != nil:
		return "failed: " + err.Error() + ", want " + *c.Text
	case c.Text != nil && got != *c.Text:
		return "gave " + quote(got) + ", want " + quote(*c.Text)
	case c.Text == nil && err == nil:
		return "gave " + quote(got) + ", want an error: " + c.Error
	}
	if message, ok := strings.CutPrefix(c.Error, "TemplateError: "); ok {
		var raised *Raised
		if !errors.As(err, &raised) || raised.Message != message {
			return "failed as " + err.Error() + ", want " + c.Error
		}
	}
	return ""
}

func render(t *testing.T, template string, variables *Dict) (string, error) {
	parsed, err := Parse(template)
	if err != nil {
		return "", err
	}
	return parsed.Render(t.Context(), variables, Options{})
}
