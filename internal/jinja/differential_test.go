package jinja

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// TestDifferential compares with jinja2 3.1.6 as transformers 4.57.6 sets it up: several hundred features,
// and templates drawn from the grammar. testdata/make_goldens.py makes the file; PHI3_JINJA_GOLDENS names
// another one.
func TestDifferential(t *testing.T) {
	race.SkipAlone(t)
	path := "testdata/goldens.json.gz"
	if p := os.Getenv("PHI3_JINJA_GOLDENS"); p != "" {
		path = p
	}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var goldens struct {
		Variables json.RawMessage
		Cases     []struct {
			Template string  `json:"t"`
			Text     *string `json:"o"`
			Error    string  `json:"e"`
		}
	}
	require.NoError(t, json.NewDecoder(z).Decode(&goldens))
	require.NotEmpty(t, goldens.Cases)
	variables, err := FromJSON(string(goldens.Variables))
	require.NoError(t, err)
	bad := 0
	for _, c := range goldens.Cases {
		got, err := render(t, c.Template, variables.(*Dict))
		if problem := differs(golden{Text: c.Text, Error: c.Error}, got, err); problem != "" {
			if bad++; bad < 60 {
				t.Errorf("%q\n%.600s", c.Template, problem)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d cases differ", bad, len(goldens.Cases))
	}
}
