package strictjson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// file has every kind of field that the readers of checkpoints use.
type file struct {
	Name   string            `json:"name"`
	Count  *int              `json:"count"`
	Short  int32             `json:"short"`
	Rate   float64           `json:"rate"`
	On     bool              `json:"on"`
	List   []float32         `json:"list"`
	Parts  []part            `json:"parts"`
	Nested *part             `json:"nested"`
	Named  map[string]part   `json:"named"`
	Later  json.RawMessage   `json:"later"`
	Any    any               `json:"any"`
	Raws   []json.RawMessage `json:"raws"`
}

type part struct {
	ID int `json:"id"`
}

func TestUnmarshal(t *testing.T) {
	var f file
	text := ` { "name" : "a\"]}", "count":3, "unknown": {"id":1,"id":2,"ID":[{}, "\\"]}, "nested":{"id":4}, "named":{"ID":{"id":5},"id":{"id":6}},
		"later":{"Id":1,"Id":2}, "list":[1, 2.5e0], "parts":[{"id":7},{},null], "any":[{"a":1,"A":2}], "raws":[{},[],"]"], "\u006fn":true}`
	require.NoError(t, Unmarshal([]byte(text), &f))
	require.Equal(t, `a"]}`, f.Name)
	require.Equal(t, 3, *f.Count)
	require.Equal(t, map[string]part{"ID": {5}, "id": {6}}, f.Named, "a map's keys are data")
	require.Equal(t, []part{{7}, {}, {}}, f.Parts)
	require.Equal(t, `{"Id":1,"Id":2}`, string(f.Later), "for later")
	require.Len(t, f.Raws, 3)
	require.True(t, f.On)
	for _, text := range []string{"null", "{}", `{"nested":null,"parts":null,"named":null,"later":null}`} {
		require.NoError(t, Unmarshal([]byte(text), &file{}), text)
	}
	var all map[string]json.RawMessage
	require.NoError(t, Unmarshal([]byte(`{"a":{"a":1},"A":2}`), &all))
	require.Len(t, all, 2)
}

func TestUnmarshalRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"Name":"a"}`:                           `the key "Name" should be "name"`,
		`{"name":"a","NAME":"b"}`:                `the key "NAME" should be "name"`,
		`{"li\u017ft":[]}`:                       `the key "liſt" should be "list"`, // LATIN SMALL LETTER LONG S: encoding/json folds it too
		`{"name":"a","name":"a"}`:                `has the key "name" twice`,
		`{"name":"a","n\u0061me":"a"}`:           `has the key "name" twice`,
		`{"x":1,"x":2}`:                          `has the key "x" twice`,
		`{"nested":{"Id":1}}`:                    `nested: the key "Id" should be "id"`,
		`{"parts":[{"id":1},{"iD":1}]}`:          `parts: the key "iD" should be "id"`,
		`{"named":{"a":{"Id":1}}}`:               `named: a: the key "Id" should be "id"`,
		`{"named":{"a":{},"a":{}}}`:              `named: has the key "a" twice`,
		`{"any":[{"a":1,"a":2}]}`:                `any: has the key "a" twice`,
		"{\"name\":\"\xff\"}":                    "is not valid UTF-8",
		"{\"\xed\xa0\x80\":1}":                   "is not valid UTF-8", // a surrogate
		``:                                       "unexpected end of JSON input",
		`{}{}`:                                   "invalid character '{' after top-level value",
		`{"list":"a"}`:                           "list is a string, not an array",
		`{"list":[1e99]}`:                        "list is the number 1e99, not one that 32 bits hold",
		`{"count":1.5}`:                          "count is the number 1.5, not a whole number of up to 64 bits",
		`{"short":4294967296}`:                   "short is the number 4294967296, not a whole number of up to 32 bits",
		`{"nested":{"id":"1"}}`:                  "nested.id is a string, not a whole number of up to 64 bits",
		`{"name":{}}`:                            "name is an object, not a string",
		`{"on":1}`:                               "on is a number, not true or false",
		`{"parts":true}`:                         "parts is true or false, not an array",
		`[]`:                                     "the value is an array, not an object",
		strings.Repeat("[", 20000):               "exceeded max depth",
		`{"named":` + strings.Repeat(`[`, 20000): "exceeded max depth",
	} {
		err := Unmarshal([]byte(text), &file{})
		require.ErrorContains(t, err, want, "%.80s", text)
		require.NotContains(t, err.Error(), "Go ", "%.80s", text)
	}
}

// FuzzUnmarshal: what passes is what encoding/json reads, and whoever reads keys exactly reads the same.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","count":3,"nested":{"id":4},"named":{"ID":{"id":5}},"list":[1,2],"parts":[{"id":7},{}],"any":[{"a":1}],"raws":[{}]}`,
		`{"later":{"Id":1,"Id":2},"x":[{"\\":"\""}]}`, `{"Name":"a"}`, `[]`, `{"named":{"a":null,"b":{"iD":1}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var strict, loose file
		if err := Unmarshal(text, &strict); err != nil {
			return
		}
		require.NoError(t, json.Unmarshal(text, &loose))
		require.Equal(t, loose, strict)
		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &keys))
		for key, field := range map[string]*string{"name": &strict.Name} {
			if _, ok := keys[key]; !ok {
				require.Empty(t, *field)
			}
		}
		if _, ok := keys["nested"]; !ok {
			require.Nil(t, strict.Nested)
		}
	})
}
