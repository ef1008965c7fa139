package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"phi3/internal/strictjson"
)

// members returns the members of the JSON object that a request's body is.
func members(body []byte) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, invalid("", "invalid_json", "The body of the request is empty. Send a JSON object.")
	}
	var all map[string]json.RawMessage
	err := strictjson.Unmarshal(body, &all)
	if err == nil && all == nil {
		return nil, invalid("", "invalid_json", "The body of the request is null, not a JSON object.")
	}
	if err != nil {
		said := strings.TrimSuffix(err.Error(), ": is the download complete?")
		said = strings.TrimPrefix(said, "the value ")
		return nil, invalid("", "invalid_json", "The body of the request %s.", said)
	}
	if loneSurrogate(body) {
		return nil, invalid("", "invalid_json", "The body of the request has an escape \\ud8… to \\udf… "+
			"without its other half: a text was cut within a character.")
	}
	return all, nil
}

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

// textOrList reads a text, or a list of values. list is nil if it is a text.
func (v value) textOrList() (text string, list []value, err error) {
	switch v.raw[0] {
	case '"':
		return text, nil, v.into(&text)
	case '[':
		var all []json.RawMessage
		err := v.into(&all)
		list := make([]value, len(all))
		for i, raw := range all {
			list[i] = value{fmt.Sprintf("%s[%d]", v.name, i), raw}
		}
		return "", list, err
	}
	return "", nil, invalid(v.name, "invalid_type", "%s is neither a text nor a list.", v.name)
}

// number reads a number in low … high.
func (v value) number(low, high float64) (x float64, err error) {
	if err = v.into(&x); err == nil && !(x >= low && x <= high) {
		err = v.wrong(" is %v, not in %v … %v.", x, low, high)
	}
	return x, err
}

// integer reads a whole number in low … high.
func (v value) integer(low, high int) (n int, err error) {
	if err = v.into(&n); err == nil && (n < low || n > high) {
		err = v.wrong(" is %d, not in %d … %d.", n, low, high)
	}
	return n, err
}

// ids reads a list of token ids below limit.
func (v value) ids(limit int) ([]int32, error) {
	var all []int64
	if err := v.into(&all); err != nil {
		return nil, err
	}
	ids := make([]int32, len(all))
	for i, id := range all {
		if id < 0 || id >= int64(limit) {
			return nil, v.wrong(" has the token id %d; the model's ids are 0 … %d.", id, limit-1)
		}
		ids[i] = int32(id)
	}
	return ids, nil
}
