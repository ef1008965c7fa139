package input

import (
	"bytes"
	"strings"

	"phi3/internal/tokenizer"
)

// Valid returns a text as valid UTF-8 without a byte order mark, so that the program's output shows what the
// model sees. Like the tokenizer, it replaces invalid bytes by U+FFFD. A warning is the rest of a sentence
// that begins with the name of the text.
func Valid(text string) (valid string, warnings []string) {
	text = strings.TrimPrefix(text, "\ufeff")
	valid = tokenizer.ValidUTF8(text)
	if valid != text {
		warnings = append(warnings, "is not valid UTF-8; what is not a character is read as U+FFFD")
	}
	if strings.Count(valid, "\x00") > len(valid)/5 {
		warnings = append(warnings, "has many NUL characters, as UTF-16 or UTF-32 without a byte order mark "+
			"has; save it as UTF-8")
	}
	return valid, warnings
}

// TrimNewline drops the newline that editors and echo write at the end of a text.
func TrimNewline(text []byte) string {
	if rest, ok := bytes.CutSuffix(text, []byte("\r\n")); ok {
		return string(rest)
	}
	return string(bytes.TrimSuffix(text, []byte("\n")))
}
