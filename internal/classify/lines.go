package classify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// Line is a text from a file of texts.
type Line struct {
	Number int // of the line, from 1; 0 with an error of reading the file
	Text   string
	// Mended is true if the line is not valid UTF-8. Text then has U+FFFD in place of invalid bytes.
	Mended bool
}

// maxLine is the longest line that [Lines] reads, in bytes.
const maxLine = 16 << 20

// Lines reads one text from each line: a JSON string, or a JSON object with a "text". It skips empty lines.
// It ends at the first error, and yields it with the number of the line.
func Lines(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxLine)
		n := 0
		for scanner.Scan() {
			n++
			valid := tokenizer.ValidUTF8(scanner.Text())
			if strings.TrimSpace(valid) == "" {
				continue
			}
			text, err := parseLine([]byte(valid))
			if !yield(Line{Number: n, Text: text, Mended: valid != scanner.Text()}, err) || err != nil {
				return
			}
		}
		if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("is longer than %s, and no more is read", show.Bytes(maxLine))
			yield(Line{Number: n + 1}, err)
		} else if err != nil {
			yield(Line{}, err)
		}
	}
}

// parseLine finds the text in a line of JSON.
func parseLine(line []byte) (string, error) {
	var text *string
	if json.Unmarshal(line, &text) == nil && text != nil {
		return *text, nil
	}
	var object struct{ Text *string }
	var wrong *json.UnmarshalTypeError
	err := json.Unmarshal(line, &object)
	if errors.As(err, &wrong) && wrong.Field != "" {
		return "", fmt.Errorf(`"text" is a JSON %s, not a string`, wrong.Value)
	}
	if err != nil || object.Text == nil {
		return "", errors.New(`is neither a JSON string nor an object with a "text"`)
	}
	return *object.Text, nil
}
