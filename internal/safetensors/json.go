package safetensors

import (
	"fmt"
	"strconv"
	"strings"

	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// jsonReader reads a JSON text value by value. Other files are read into structs. A header is not,
// because its errors name the wrong number, and because the memory must stay in proportion to the file.
type jsonReader struct{ *strictjson.Scanner }

// newJSONReader checks that text is one well-formed JSON value: see [strictjson.Check].
func newJSONReader(text []byte) (jsonReader, error) {
	if err := strictjson.Check(text); err != nil {
		return jsonReader{}, err
	}
	return jsonReader{strictjson.NewScanner(text)}, nil
}

// maxKeys bounds the keys of one object, such as the tensors of a file: a map of them takes ten times as
// much memory as their shortest text. A Phi-3 has 6 tensors in a layer and 3 more. The largest
// checkpoints of other families have about 100,000.
const maxKeys = 1 << 18

// object reads an object and calls field with each key. field must read the key's value. A repeated key
// is an error.
func (r jsonReader) object(field func(key string) error) error {
	if !r.Take('{') {
		return fmt.Errorf("is %s, not an object", describe(r.Raw()))
	}
	seen := map[string]bool{}
	for !r.Take('}') {
		key, err := r.Str()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("has the key %q twice", show.Brief(key))
		}
		if len(seen) == maxKeys {
			return fmt.Errorf("has more than %d keys", maxKeys)
		}
		seen[key] = true
		r.Take(':')
		if err := field(key); err != nil {
			return err
		}
		r.Take(',')
	}
	return nil
}

// uints reads an array of at most limit integers, each in [0, 2⁶⁴).
func (r jsonReader) uints(limit int) ([]uint64, error) {
	if !r.Take('[') {
		return nil, fmt.Errorf("is %s, not an array", describe(r.Raw()))
	}
	list := []uint64{}
	for !r.Take(']') {
		if len(list) == limit {
			return nil, fmt.Errorf("has more than %d entries", limit)
		}
		raw := r.Raw()
		n, err := strconv.ParseUint(raw, 10, 64)
		if err != nil {
			if !isNumber(raw) {
				return nil, fmt.Errorf("holds %s where a number belongs", describe(raw))
			}
			return nil, fmt.Errorf("holds %s, which is not an integer from 0 to 2^64-1", show.Brief(raw))
		}
		list = append(list, n)
		r.Take(',')
	}
	return list, nil
}

func (r jsonReader) str() (string, error) {
	raw := r.Raw()
	if !strings.HasPrefix(raw, `"`) {
		return "", fmt.Errorf("is %s, not a string", describe(raw))
	}
	return strictjson.NewScanner([]byte(raw)).Str()
}

// describe returns words for the kind of a JSON value, for messages.
func describe(raw string) string {
	switch {
	case strings.HasPrefix(raw, "{"):
		return "an object"
	case strings.HasPrefix(raw, "["):
		return "an array"
	case strings.HasPrefix(raw, `"`):
		s, _ := strictjson.NewScanner([]byte(raw)).Str()
		return "the string " + strconv.Quote(show.Brief(s))
	case isNumber(raw):
		return "the number " + show.Brief(raw)
	}
	return raw // null, true or false
}

func isNumber(raw string) bool { return raw != "" && strings.IndexByte("-0123456789", raw[0]) >= 0 }
