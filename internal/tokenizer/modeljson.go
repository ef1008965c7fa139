package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// modelJSON is the "model" entry of tokenizer.json for BPE: 99 % of the file's bytes.
type modelJSON struct {
	Type                    string     `json:"type"`
	Dropout                 float64    `json:"dropout"`
	ContinuingSubwordPrefix string     `json:"continuing_subword_prefix"`
	EndOfWordSuffix         string     `json:"end_of_word_suffix"`
	ByteFallback            bool       `json:"byte_fallback"`
	IgnoreMerges            bool       `json:"ignore_merges"`
	Vocab                   vocabulary `json:"vocab"`
	Merges                  mergeList  `json:"merges"`
}

// vocabulary maps a piece to its id. It and mergeList read their own JSON: through encoding/json's reflection, 200,000 entries
// take as long as all the rest of loading. encoding/json has checked the syntax before it calls UnmarshalJSON.
type vocabulary map[string]int32

// UnmarshalJSON reads {"piece": id, ...}.
func (v *vocabulary) UnmarshalJSON(raw []byte) error {
	s := &scanner{text: string(raw)}
	if !s.take('{') {
		return errors.New("vocab is not an object")
	}
	*v = make(vocabulary, bytes.Count(raw, []byte(":")))
	for !s.take('}') {
		piece, err := s.str()
		if err != nil {
			return fmt.Errorf("vocab: %w", err)
		}
		s.take(':')
		id, err := s.integer()
		if err != nil {
			return fmt.Errorf("vocab: id of %q: %w", piece, err)
		}
		(*v)[piece] = id
		s.take(',')
	}
	return nil
}

// mergeList holds the merges in order of rank.
type mergeList [][2]string

// UnmarshalJSON reads ["a b", ...], or as since 2024 [["a", "b"], ...].
func (m *mergeList) UnmarshalJSON(raw []byte) error {
	s := &scanner{text: string(raw)}
	if !s.take('[') {
		return errors.New("merges is not a list")
	}
	*m = make(mergeList, 0, bytes.Count(raw, []byte(",")))
	for !s.take(']') {
		rank := len(*m)
		var left, right string
		var err error
		if s.take('[') {
			left, err = s.str()
			s.take(',')
			if err == nil {
				right, err = s.str()
			}
			if err == nil && !s.take(']') {
				err = errors.New("not two parts")
			}
		} else if left, err = s.str(); err == nil {
			var ok bool
			if left, right, ok = strings.Cut(left, " "); !ok || strings.Contains(right, " ") {
				err = errors.New("not two parts with one space between")
			}
		}
		if err != nil {
			return fmt.Errorf("merge %d: %w", rank, err)
		}
		*m = append(*m, [2]string{left, right})
		s.take(',')
	}
	return nil
}

// scanner walks over JSON whose syntax is known to be valid.
type scanner struct {
	text string
	at   int
}

// take skips white space, and then the byte c if it comes next.
func (s *scanner) take(c byte) bool {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\n' || s.text[s.at] == '\r' || s.text[s.at] == '\t') {
		s.at++
	}
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// str reads a string. Most need no decoding and share the text's memory.
func (s *scanner) str() (string, error) {
	if !s.take('"') {
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
	if raw := s.text[start : s.at-1]; plain && utf8.ValidString(raw) {
		return raw, nil
	}
	var out string
	err := json.Unmarshal([]byte(s.text[start-1:s.at]), &out)
	return out, err
}

// integer reads a whole number that fits an int32.
func (s *scanner) integer() (int32, error) {
	s.take(' ')
	start := s.at
	for s.at < len(s.text) && strings.IndexByte("+-.0123456789eE", s.text[s.at]) >= 0 {
		s.at++
	}
	n, err := strconv.ParseInt(s.text[start:s.at], 10, 32)
	return int32(n), err
}
