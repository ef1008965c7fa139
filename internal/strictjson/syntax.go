package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"phi3/internal/regular"
)

// Check returns an error unless text is one JSON value in UTF-8, nested at most 10,000 levels deep. The error
// gives the line and column, or says what the text is instead of JSON.
func Check(text []byte) error {
	if err := foreign(text); err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return errors.New("is not valid UTF-8")
	}
	return syntax(text, json.Unmarshal(text, new(skipped)))
}

// skipped reads any JSON value and drops it.
type skipped struct{}

// UnmarshalJSON implements [json.Unmarshaler].
func (*skipped) UnmarshalJSON([]byte) error { return nil }

// foreign returns an error for text whose first bytes show that it is not JSON in UTF-8. Hugging Face's
// reader refuses a byte order mark, too.
func foreign(text []byte) error {
	const save = "save the file as UTF-8 without one"
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return errors.New("begins with a byte order mark (BOM), which JSON must not have: " + save)
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return errors.New("is UTF-16 with a byte order mark, not UTF-8: " + save)
	case len(text) > 1 && (text[0] == 0) != (text[1] == 0):
		return errors.New("looks like UTF-16, not UTF-8: save the file as UTF-8")
	case bytes.HasPrefix(text, []byte("\x1f\x8b")):
		return errors.New("is compressed (gzip), not the file itself: unpack it with gunzip")
	}
	return regular.Placeholder(text)
}

// wording translates the errors of encoding/json about a character: ours says where the character is not
// allowed.
var wording = []struct{ theirs, ours string }{
	{"looking for beginning of object key string", "where a key in double quotes belongs"},
	{"looking for beginning of value", "where a value belongs"},
	{"after object key:value pair", "where a comma or } belongs"},
	{"after object key", "where a colon belongs"},
	{"after array element", "where a comma or ] belongs"},
	{"after top-level value", "after the end of the JSON"},
	{"in string literal", "in a string, where only an escape such as \\n may stand for it"},
	{"in string escape code", "after a \\ in a string, which does not begin an escape in JSON"},
	{`in \u hexadecimal character escape`, "in an escape \\u…, which has four hexadecimal digits"},
	{"in literal", "in one of the words true, false and null"},
	{"after decimal point in numeric literal", "after a number's decimal point"},
	{"in numeric literal", "in a number"},
	{"in exponent of numeric literal", "in the exponent of a number"},
}

// syntax translates a syntax error of encoding/json and adds its place. It returns other errors unchanged.
func syntax(text []byte, err error) error {
	var s *json.SyntaxError
	if !errors.As(err, &s) {
		return err
	}
	at := min(max(0, int(s.Offset)-1), len(text))
	said := s.Error()
	if strings.HasPrefix(said, "unexpected end") {
		if len(bytes.TrimSpace(text)) == 0 {
			return errors.New("is empty: is the download complete?")
		}
		return fmt.Errorf("is not valid JSON: it ends unfinished, at %s: is the download complete?",
			place(text, len(text)))
	}
	if strings.Contains(said, "max depth") {
		return fmt.Errorf("is nested too deep: %s is more than 10,000 levels down", place(text, at))
	}
	where := "which does not belong there"
	for _, w := range wording {
		if strings.Contains(said, w.theirs) {
			where = w.ours
			break
		}
	}
	r, size := utf8.DecodeRune(text[at:])
	if size == 0 {
		return fmt.Errorf("is not valid JSON at %s", place(text, at))
	}
	hint := ""
	if r == '}' || r == ']' {
		if before := bytes.TrimRight(text[:at], " \t\r\n"); bytes.HasSuffix(before, []byte(",")) {
			hint = "; is there a comma too many before it?"
		}
	}
	return fmt.Errorf("is not valid JSON: %s has %q %s%s", place(text, at), r, where, hint)
}

// place returns "line 3, column 14". Both count from 1; columns are characters.
func place(text []byte, at int) string {
	before := text[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}
