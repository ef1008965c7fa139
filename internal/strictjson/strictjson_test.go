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
	text := ` { "name" : "a\"]}", "count":3, "unknown": {"id":1,"id":2,"ID":[{}, "\\"]},
		"nested":{"id":4}, "named":{"ID":{"id":5},"id":{"id":6}},
		"later":{"Id":1,"Id":2}, "list":[1, 2.5e0], "parts":[{"id":7},{},null],
		"any":[{"a":1,"A":2}], "raws":[{},[],"]"], "\u006fn":true}`
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
		`{"Name":"a"}`:            `the key "Name" should be "name"`,
		`{"name":"a","NAME":"b"}`: `the key "NAME" should be "name"`,
		// LATIN SMALL LETTER LONG S: encoding/json folds it too
		`{"li\u017ft":[]}`:              `the key "liſt" should be "list"`,
		`{"name":"a","name":"a"}`:       `has the key "name" twice`,
		`{"name":"a","n\u0061me":"a"}`:  `has the key "name" twice`,
		`{"x":1,"x":2}`:                 `has the key "x" twice`,
		`{"nested":{"Id":1}}`:           `nested: the key "Id" should be "id"`,
		`{"parts":[{"id":1},{"iD":1}]}`: `parts: the key "iD" should be "id"`,
		`{"named":{"a":{"Id":1}}}`:      `named: a: the key "Id" should be "id"`,
		`{"named":{"a":{},"a":{}}}`:     `named: has the key "a" twice`,
		`{"any":[{"a":1,"a":2}]}`:       `any: has the key "a" twice`,
		"{\"name\":\"\xff\"}":           "is not valid UTF-8",
		"{\"\xed\xa0\x80\":1}":          "is not valid UTF-8", // a surrogate
		``:                              "is empty: is the download complete?",
		`{}{}`: `is not valid JSON: line 1, column 3 has '{'` +
			` after the end of the JSON`,
		`{"list":"a"}`:    "list is a string, not an array",
		`{"list":[1e99]}`: "list is the number 1e99, not one that 32 bits hold",
		`{"count":1.5}`:   "count is the number 1.5, not a whole number of up to 64 bits",
		`{"short":4294967296}`: "short is the number 4294967296, not a whole number of " +
			"up to 32 bits",
		`{"nested":{"id":"1"}}`: "nested.id is a string, not a whole number of up to 64 bits",
		`{"name":{}}`:           "name is an object, not a string",
		`{"on":1}`:              "on is a number, not true or false",
		`{"parts":true}`:        "parts is true or false, not an array",
		`[]`:                    "the value is an array, not an object",
		strings.Repeat("[", 20000): "is nested too deep: line 1, column 10001 is more than " +
			"10,000 levels down",
		`{"named":` + strings.Repeat(`[`, 20000): "is nested too deep",
	} {
		err := Unmarshal([]byte(text), &file{})
		require.ErrorContains(t, err, want, "%.80s", text)
		require.NotRegexp(t, "Go |json|invalid character|unexpected", err.Error(), "%.80s", text)
	}
}

// A syntax error gives the line and column, in characters, and does not use the words of Go's errors.
func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"{\n \"a\": 1,\n}": `line 3, column 1 has '}' where a key in double quotes belongs; ` +
			`is there a comma too many before it?`,
		"{\r\n\"é\": 1 \"b\"}": `line 2, column 8 has '"' where a comma or } belongs`,
		`{"a":[1,2,]}`: `line 1, column 11 has ']' where a value belongs; ` +
			`is there a comma too many before it?`,
		`{"a":[1 2]}`: `line 1, column 9 has '2' where a comma or ] belongs`,
		`{a:1}`:       `line 1, column 2 has 'a' where a key in double quotes belongs`,
		`{"a" 1}`:     `line 1, column 6 has '1' where a colon belongs`,
		"{\"a\":\"x\ny\"}": `line 1, column 8 has '\n' in a string, ` +
			`where only an escape such as \n may stand for it`,
		`{"a":"\x"}`:     `line 1, column 8 has 'x' after a \ in a string`,
		`{"a":"\u00zz"}`: `line 1, column 11 has 'z' in an escape \u…`,
		`{"a":nul}`:      `line 1, column 9 has '}' in one of the words true, false and null`,
		`{"a":NaN}`:      `line 1, column 6 has 'N' where a value belongs`,
		`{"a":1.}`:       `line 1, column 8 has '}' after a number's decimal point`,
		`{"a":1e}`:       `line 1, column 8 has '}' in the exponent of a number`,
		`{"a":-}`:        `line 1, column 7 has '}' in a number`,
		"{\"a\":\n1": `is not valid JSON: it ends unfinished, at line 2, column 2: ` +
			`is the download complete?`,
		" \n":                     `is empty: is the download complete?`,
		"\xef\xbb\xbf{}":          `begins with a byte order mark (BOM), which JSON must not have`,
		"\xff\xfe{\x00}\x00":      `is UTF-16 with a byte order mark, not UTF-8`,
		"\xfe\xff\x00{\x00}":      `is UTF-16 with a byte order mark, not UTF-8`,
		"{\x00\"\x00}\x00":        `looks like UTF-16, not UTF-8`,
		"\x00{\x00}":              `looks like UTF-16, not UTF-8`,
		"\x1f\x8b\x08\x00":        `is compressed (gzip)`,
		"<!DOCTYPE html>\n<html>": `is a web page (HTML), not the file itself`,
		"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": `is a Git LFS pointer, ` +
			`not the file itself: run git lfs pull, or phi3 pull ORG/NAME`,
	} {
		for _, err := range []error{Unmarshal([]byte(text), &file{}), Check([]byte(text))} {
			require.ErrorContains(t, err, want, "%q", text)
			require.NotRegexp(t, "Go |invalid character|unexpected", err.Error(), "%q", text)
		}
	}
	require.NoError(t, Check([]byte(` {"a":[1,"x",{}]} `)))
	require.EqualError(t, Check([]byte("\"\xff\"")), "is not valid UTF-8")
	s := NewScanner([]byte(`[1e9,9999999999, "x"]`))
	s.Take('[')
	for _, want := range []string{"1e9", "9999999999", `"x"`} {
		_, err := s.Int32()
		require.EqualError(t, err, "want a whole number of up to 32 bits, not "+want)
		s.Take(',')
	}
}

// FuzzUnmarshal: for accepted text, the result is that of encoding/json, and of a reader with exact keys.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","count":3,"nested":{"id":4},"named":{"ID":{"id":5}},` +
			`"list":[1,2],"parts":[{"id":7},{}],"any":[{"a":1}],"raws":[{}]}`,
		`{"later":{"Id":1,"Id":2},"x":[{"\\":"\""}]}`, `{"Name":"a"}`, `[]`,
		`{"named":{"a":null,"b":{"iD":1}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var strict, loose file
		if err := Unmarshal(text, &strict); err != nil {
			require.NotRegexp(t, `^json: |invalid character|unexpected end of|Go (struct|value)`, err.Error())
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
