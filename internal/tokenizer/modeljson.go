package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"phi3/internal/show"
	"phi3/internal/strictjson"
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

// vocabulary maps a piece to its id. It and mergeList read their own JSON: through encoding/json's
// reflection, 200,000 entries take as long as all the rest of loading. encoding/json has checked the syntax
// before it calls UnmarshalJSON.
type vocabulary map[string]int32

// UnmarshalJSON reads {"piece": id, ...}.
func (v *vocabulary) UnmarshalJSON(raw []byte) error {
	s := strictjson.NewScanner(raw)
	if !s.Take('{') {
		return errors.New("vocab is not an object")
	}
	// The count of colons bounds the number of entries. No entry is shorter than "a":1, so the allocation
	// stays proportional to the file.
	*v = make(vocabulary, min(bytes.Count(raw, []byte(":")), len(raw)/6, maxIDs))
	for n := 0; !s.Take('}'); n++ {
		piece, err := s.Str()
		if err != nil {
			return fmt.Errorf("vocab: %w", err)
		}
		s.Take(':')
		id, err := s.Int32()
		if err != nil {
			return fmt.Errorf("vocab: id of %q: %w", show.Brief(piece), err)
		}
		(*v)[piece] = id
		if len(*v) == n {
			return fmt.Errorf("vocab: has the token %q twice", show.Brief(piece))
		}
		if n == maxIDs {
			return fmt.Errorf("vocab: has more than %d tokens", maxIDs)
		}
		s.Take(',')
	}
	return nil
}

// mergeList holds the merges in order of rank.
type mergeList [][2]string

// UnmarshalJSON reads ["a b", ...], or as since 2024 [["a", "b"], ...].
func (m *mergeList) UnmarshalJSON(raw []byte) error {
	s := strictjson.NewScanner(raw)
	if !s.Take('[') {
		return errors.New("merges is not a list")
	}
	// no entry is shorter than "a b",
	*m = make(mergeList, 0, min(bytes.Count(raw, []byte(",")), len(raw)/6)+1)
	for !s.Take(']') {
		rank := len(*m)
		var left, right string
		var err error
		if s.Take('[') {
			left, err = s.Str()
			s.Take(',')
			if err == nil {
				right, err = s.Str()
			}
			if err == nil && !s.Take(']') {
				err = errors.New("not two parts")
			}
		} else if left, err = s.Str(); err == nil {
			var ok bool
			if left, right, ok = strings.Cut(left, " "); !ok || strings.Contains(right, " ") {
				err = errors.New("not two parts with one space between")
			}
		}
		if err != nil {
			return fmt.Errorf("merge %d: %w", rank, err)
		}
		*m = append(*m, [2]string{left, right})
		s.Take(',')
	}
	return nil
}
