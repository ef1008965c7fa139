package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"phi3/internal/show"
)

// Scanner reads JSON whose syntax is known to be valid, as in UnmarshalJSON, where encoding/json has checked
// it. For other text its results are undefined, but it does not panic.
type Scanner struct {
	text string
	at   int
}

// NewScanner returns a Scanner at the beginning of text.
func NewScanner(text []byte) *Scanner { return &Scanner{text: string(text)} }

// Take skips white space, and then the byte c if it is next. It reports whether it was.
func (s *Scanner) Take(c byte) bool {
	for s.at < len(s.text) &&
		(s.text[s.at] == ' ' || s.text[s.at] == '\n' || s.text[s.at] == '\r' || s.text[s.at] == '\t') {
		s.at++
	}
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// Str reads a string. A string without escapes shares the memory of the text.
func (s *Scanner) Str() (string, error) {
	if !s.Take('"') {
		return "", errors.New("want a string")
	}
	start, plain := s.at, true
	for s.at < len(s.text) && s.text[s.at] != '"' {
		if s.text[s.at] == '\\' {
			plain = false
			s.at++
		}
		s.at++
	}
	if s.at >= len(s.text) {
		return "", errors.New("unfinished string")
	}
	s.at++
	if plain {
		return s.text[start : s.at-1], nil
	}
	var out string
	if json.Unmarshal([]byte(s.text[start-1:s.at]), &out) != nil {
		return "", errors.New("want a string")
	}
	return out, nil
}

// Int32 reads a whole number of up to 32 bits.
func (s *Scanner) Int32() (int32, error) {
	s.Take(' ')
	start := s.at
	for s.at < len(s.text) && strings.IndexByte("+-.0123456789eE", s.text[s.at]) >= 0 {
		s.at++
	}
	n, err := strconv.ParseInt(s.text[start:s.at], 10, 32)
	if err != nil {
		s.at = start
		return 0, fmt.Errorf("want a whole number of up to 32 bits, not %s", show.Brief(s.Raw()))
	}
	return int32(n), nil
}

// Raw skips the next value and returns its text.
func (s *Scanner) Raw() string {
	s.Take(' ')
	start := s.at
	s.Skip()
	return s.text[start:s.at]
}

// Skip skips the next value of any kind.
func (s *Scanner) Skip() {
	for depth := 0; ; {
		switch {
		case s.Take('{') || s.Take('['):
			depth++
		case s.Take('}') || s.Take(']'):
			depth--
		case s.Take(',') || s.Take(':'):
			continue
		case s.at >= len(s.text):
			return
		case s.text[s.at] == '"':
			_, _ = s.Str()
		default:
			for s.at < len(s.text) && strings.IndexByte(" \n\r\t,:]}", s.text[s.at]) < 0 {
				s.at++
			}
		}
		if depth <= 0 {
			return
		}
	}
}
