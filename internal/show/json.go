package show

import (
	"encoding/json"
	"io"
)

// WriteJSON writes v as indented JSON. It does not escape < and >, which most special tokens contain.
func WriteJSON(w io.Writer, v any) error { return encode(w, v, "  ") }

// WriteJSONLine writes v as JSON on one line, otherwise as [WriteJSON] does.
func WriteJSONLine(w io.Writer, v any) error { return encode(w, v, "") }

func encode(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(NewJSONWriter(w))
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}
