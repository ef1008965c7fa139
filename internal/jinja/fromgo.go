package jinja

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// noContext is never done.
var noContext = context.Background()

// FromJSON makes a value of a JSON text, as Python's json.loads does. Objects keep the order of their keys.
func FromJSON(text string) (Value, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := readJSON(d, 0)
	if err != nil {
		return nil, errors.New("it is not a JSON value")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func readJSON(d *json.Decoder, depth int) (Value, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("it nests too deep")
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			list := &List{Items: []Value{}}
			for d.More() {
				item, err := readJSON(d, depth+1)
				if err != nil {
					return nil, err
				}
				list.Items = append(list.Items, item)
			}
			_, err := d.Token()
			return list, err
		}
		dict := NewDict()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			dict.Set(key, value)
		}
		_, err := d.Token()
		return dict, err
	case json.Number:
		if n, ok := new(big.Int).SetString(string(t), 10); ok {
			if n.BitLen() > maxBits {
				return nil, fmt.Errorf("a number has too many digits")
			}
			return normal(n), nil
		}
		f, ok := parseFloat(string(t))
		if !ok {
			return nil, errors.New("a number cannot be read")
		}
		return f, nil
	}
	return t, nil
}
