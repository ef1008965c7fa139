package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// jsonReader walks a JSON text value by value. encoding/json's Unmarshal will not do for what strangers supply: it keeps the last
// of two equal keys, ignores the case of field names and repairs broken UTF-8, all silently.
type jsonReader struct{ dec *json.Decoder }

// newJSONReader checks that text is one well-formed JSON value in UTF-8, nested at most 10,000 deep (encoding/json's limit).
func newJSONReader(text []byte) (jsonReader, error) {
	if !utf8.Valid(text) {
		return jsonReader{}, errors.New("is not valid UTF-8")
	}
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil {
		return jsonReader{}, fmt.Errorf("is not valid JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return jsonReader{dec}, nil
}

// object reads an object and calls field with each key; field must read the key's value. A repeated key is an error.
func (r jsonReader) object(field func(key string) error) error {
	if err := r.open('{', "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.dec.More() {
		key, err := r.str()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("has the key %q twice", clip(key))
		}
		seen[key] = true
		if err := field(key); err != nil {
			return err
		}
	}
	_, err := r.dec.Token()
	return err
}

// uints reads an array of at most limit integers, each in [0, 2⁶⁴).
func (r jsonReader) uints(limit int) ([]uint64, error) {
	if err := r.open('[', "an array"); err != nil {
		return nil, err
	}
	list := []uint64{}
	for r.dec.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("has more than %d entries", limit)
		}
		tok, err := r.dec.Token()
		if err != nil {
			return nil, err
		}
		number, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("holds %s where a number belongs", describe(tok))
		}
		n, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("holds %s, which is not an integer from 0 to 2^64-1", clip(number.String()))
		}
		list = append(list, n)
	}
	_, err := r.dec.Token()
	return list, err
}

func (r jsonReader) str() (string, error) {
	tok, err := r.dec.Token()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("is %s, not a string", describe(tok))
	}
	return s, nil
}

// skip reads one value of any kind and forgets it.
func (r jsonReader) skip() error { return r.dec.Decode(new(json.RawMessage)) }

func (r jsonReader) open(delim json.Delim, what string) error {
	tok, err := r.dec.Token()
	if err != nil {
		return err
	}
	if tok != delim {
		return fmt.Errorf("is %s, not %s", describe(tok), what)
	}
	return nil
}

func describe(tok json.Token) string {
	switch t := tok.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(t)
	case string:
		return "the string " + strconv.Quote(clip(t))
	case json.Number:
		return "the number " + clip(t.String())
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "an array"
	}
	return "an unknown value"
}

// clip keeps a hostile megabyte out of an error message.
func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
