package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"phi3/internal/strictjson"
)

// Limits of what a value may have, so that a body takes not many times its size in memory.
const (
	maxMembers = 256     // of an object
	maxIDs     = 1 << 20 // of a list
)

// members returns the members of the JSON object that a request's body is.
func members(body []byte) (map[string]value, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, invalid("", "invalid_json", "The body of the request is empty. Send a JSON object.")
	}
	if err := strictjson.Check(body); err != nil {
		said := strings.TrimSuffix(err.Error(), ": is the download complete?")
		if !strings.HasSuffix(said, "?") {
			said += "."
		}
		return nil, invalid("", "invalid_json", "The body of the request %s", said)
	}
	if loneSurrogate(body) {
		return nil, invalid("", "invalid_json", "The body of the request has an escape \\ud8… to \\udf… "+
			"without its other half: a text was cut within a character.")
	}
	return value{"", bytes.TrimLeft(body, white)}.object()
}

// white is what JSON skips.
const white = " \t\r\n"

// loneSurrogate reports whether valid JSON has an escape of half a UTF-16 pair without the other half.
// encoding/json would replace it without an error.
func loneSurrogate(text []byte) bool {
	// unit is the code unit of the escape \uXXXX at the start of text, if there is one.
	unit := func(text []byte) (u uint64, ok bool) {
		if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
			return 0, false
		}
		u, err := strconv.ParseUint(string(text[2:6]), 16, 16)
		return u, err == nil
	}
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 || at+1 == len(text) {
			return false
		}
		text = text[at:]
		u, ok := unit(text)
		switch {
		case !ok:
			text = text[2:] // another escape
			continue
		case u&0xFC00 == 0xDC00:
			return true
		case u&0xFC00 == 0xD800:
			if low, ok := unit(text[6:]); !ok || low&0xFC00 != 0xDC00 {
				return true
			}
			text = text[6:]
		}
		text = text[6:]
	}
}

// value is a JSON value of a request.
type value struct {
	name string // such as messages[0].content
	raw  json.RawMessage
}

// isNull reports whether the value is null. The protocol means by it that the parameter is not given.
func (v value) isNull() bool { return string(v.raw) == "null" }

// into reads the value as encoding/json does, strictly.
func (v value) into(variable any) error {
	err := strictjson.Unmarshal(v.raw, variable)
	if err == nil {
		return nil
	}
	said := err.Error()
	switch {
	case strings.HasPrefix(said, "the value "):
		said = said[len("the value"):]
	case strings.HasPrefix(said, "has "):
		said = " " + said
	default:
		said = ": " + said
	}
	return invalid(v.name, "invalid_type", "%s%s.", v.name, said)
}

// wrong is the error of a value that has the right type and cannot be used.
func (v value) wrong(format string, args ...any) error {
	return invalid(v.name, "invalid_value", v.name+format, args...)
}

// each calls member for each member of an object, until that returns an error.
func (v value) each(member func(key string, v value) error) error {
	s := strictjson.NewScanner(v.raw)
	if !s.Take('{') {
		return invalid(v.name, "invalid_type", "%s is not a JSON object.", v.shown())
	}
	dot := "."
	if v.name == "" {
		dot = ""
	}
	for !s.Take('}') {
		key, err := s.Str()
		if err != nil {
			return AsError(err) // cannot happen: the body is valid JSON
		}
		s.Take(':')
		if err := member(key, value{v.name + dot + key, json.RawMessage(s.Raw())}); err != nil {
			return err
		}
		s.Take(',')
	}
	return nil
}

// object reads the members of an object.
func (v value) object() (map[string]value, error) {
	all := map[string]value{}
	err := v.each(func(key string, member value) error {
		if _, twice := all[key]; twice {
			return v.twice(key)
		}
		if len(all) == maxMembers {
			return invalid(v.name, "invalid_value", "%s has more than %d members.", v.shown(), maxMembers)
		}
		all[key] = member
		return nil
	})
	return all, err
}

// twice is the error of an object that has a key twice.
func (v value) twice(key string) error {
	return invalid(v.name, "invalid_json", "%s has the key %q twice.", v.shown(), brief(key))
}

// shown is what messages call the value.
func (v value) shown() string {
	if v.name == "" {
		return "The body of the request"
	}
	return v.name
}

// take returns a member of an object and removes it; null if there is none.
func take(all map[string]value, of, name string) value {
	v, ok := all[name]
	delete(all, name)
	if !ok {
		v = value{of + "." + name, json.RawMessage("null")}
	}
	return v
}

// required returns an error if the value is not given.
func (v value) required() error {
	if v.isNull() {
		return invalid(v.name, "missing_required_parameter", "%s is missing. It must be a text.", v.name)
	}
	return nil
}

// isList reports whether the value is a list.
func (v value) isList() bool { return v.raw[0] == '[' }

// firstOfList is the first character of a list's first value; 0 if there is none.
func (v value) firstOfList() byte {
	if rest := bytes.TrimLeft(v.raw[1:], white); v.isList() && rest[0] != ']' {
		return rest[0]
	}
	return 0
}

// isText reports whether the value is a text.
func (v value) isText() bool { return v.raw[0] == '"' }

// list reads a list of up to limit values.
func (v value) list(limit int) ([]value, error) {
	s := strictjson.NewScanner(v.raw)
	if !s.Take('[') {
		return nil, invalid(v.name, "invalid_type", "%s is not a list.", v.name)
	}
	all := []value{}
	for !s.Take(']') {
		if len(all) == limit {
			return nil, v.wrong(" has more than %d entries.", limit)
		}
		all = append(all, value{fmt.Sprintf("%s[%d]", v.name, len(all)), json.RawMessage(s.Raw())})
		s.Take(',')
	}
	return all, nil
}

// textOrList reads a text, or a list of up to limit values. list is nil if it is a text.
func (v value) textOrList(limit int) (text string, list []value, err error) {
	switch {
	case v.isText():
		err = v.into(&text)
	case v.isList():
		list, err = v.list(limit)
	default:
		err = invalid(v.name, "invalid_type", "%s is neither a text nor a list.", v.name)
	}
	return text, list, err
}

// number reads a number in low … high.
func (v value) number(low, high float64) (x float64, err error) {
	if err = v.into(&x); err == nil && !(x >= low && x <= high) {
		err = v.wrong(" is %v, not %s.", x, interval(x, low, high, math.MaxFloat32))
	}
	return x, err
}

// interval names the numbers low … high, of which x is none. A high of most is no limit that a person would
// name, unless x is above it.
func interval[T int | float64](x, low, high, most T) string {
	if high == most && !(x > high) {
		return fmt.Sprintf("%v or more", low)
	}
	return fmt.Sprintf("in %v … %v", low, high)
}

// integer reads a whole number in low … high.
func (v value) integer(low, high int) (n int, err error) {
	if err = v.into(&n); err == nil && (n < low || n > high) {
		err = v.wrong(" is %d, not %s.", n, interval(n, low, high, math.MaxInt32))
	}
	return n, err
}

// kind names a JSON value. Errors stand in the log, so it does not show texts, which may be a part of a
// prompt.
func kind(raw string) string {
	switch raw[0] {
	case '"':
		return "a text"
	case '[':
		return "a list"
	case '{':
		return "an object"
	}
	return brief(raw)
}

// ids reads a list of up to maxIDs token ids below vocabulary.
func (v value) ids(vocabulary int) ([]int32, error) {
	s := strictjson.NewScanner(v.raw)
	if !s.Take('[') {
		return nil, invalid(v.name, "invalid_type", "%s is not a list.", v.name)
	}
	ids := make([]int32, 0, min(len(v.raw)/2, maxIDs)) // an id and its comma have two characters at least
	for !s.Take(']') {
		raw := s.Raw()
		id, err := strconv.ParseInt(raw, 10, 64)
		switch {
		case err != nil:
			entry := fmt.Sprintf("%s[%d]", v.name, len(ids))
			return nil, invalid(entry, "invalid_type", "%s is %s, not a token id.", entry, kind(raw))
		case id < 0 || id >= int64(vocabulary):
			return nil, v.wrong(" has the token id %d; the model's ids are 0 … %d.", id, vocabulary-1)
		case len(ids) == maxIDs:
			return nil, v.wrong(" has more than %d ids.", maxIDs)
		}
		ids = append(ids, int32(id))
		s.Take(',')
	}
	return ids, nil
}
