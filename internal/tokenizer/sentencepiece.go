package tokenizer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"unicode/utf8"
)

// piece is an entry of a SentencePiece vocabulary.
type piece struct {
	text  string
	score float32
	kind  uint64
}

// Kinds of pieces, and of models, in sentencepiece_model.proto.
const (
	normalPiece  = 1
	controlPiece = 3
	userPiece    = 4

	unigramModel = 1
	bpeModel     = 2
)

// Bounds on a tokenizer.model, beside those of tokenizer.json. Phi-3's has 500 KB and 61,249 merges.
const (
	maxModelPiece = 256     // bytes of a piece: SentencePiece makes them of 16 characters
	maxCuts       = 1 << 20 // ways to cut a piece in two; Phi-3 has 200,000
)

var errNoModel = errors.New("is not a SentencePiece model: its fields do not end where they should")

// ModelScores returns the pieces of tokenizer.model, by id, and their scores. The file may lie unused beside
// tokenizer.json.
func ModelScores(fsys fs.FS) (pieces []string, scores []float32, err error) {
	raw, err := readFile(fsys, modelFile)
	if err != nil {
		return nil, nil, err
	}
	list, err := readSentencePiece(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", modelFile, err)
	}
	for _, p := range list {
		pieces, scores = append(pieces, p.text), append(scores, p.score)
	}
	return pieces, scores, nil
}

// readSentencePiece reads the pieces of a ModelProto, and that it is of the BPE kind.
func readSentencePiece(raw []byte) ([]piece, error) {
	var pieces []piece
	model := uint64(unigramModel) // what a file that says nothing means
	err := eachField(raw, func(number, _ uint64, field []byte) error {
		switch number {
		case 1:
			p := piece{kind: normalPiece}
			err := eachField(field, func(number, value uint64, field []byte) error {
				switch number {
				case 1:
					p.text = string(field)
				case 2:
					p.score = math.Float32frombits(uint32(value))
				case 3:
					p.kind = value
				}
				return nil
			})
			if err != nil {
				return err
			}
			if len(p.text) > maxModelPiece {
				return fmt.Errorf("piece %d has %d bytes, more than %d", len(pieces), len(p.text),
					maxModelPiece)
			}
			if !utf8.ValidString(p.text) {
				return fmt.Errorf("piece %d is not valid UTF-8", len(pieces))
			}
			if len(pieces) == maxIDs {
				return fmt.Errorf("has more than %d pieces", maxIDs)
			}
			pieces = append(pieces, p)
		case 2:
			return eachField(field, func(number, value uint64, _ []byte) error {
				if number == 3 {
					model = value
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(pieces) == 0:
		return nil, errNoModel
	case model != bpeModel:
		return nil, fmt.Errorf("is a SentencePiece model of kind %d; only kind %d (BPE) is supported", model,
			bpeModel)
	}
	return pieces, nil
}

// eachField hands over the fields of a protobuf message: the value of a number, or the bytes of a field that
// has a length.
func eachField(raw []byte, do func(number, value uint64, field []byte) error) error {
	for len(raw) > 0 {
		key, n := binary.Uvarint(raw)
		if n <= 0 {
			return errNoModel
		}
		raw = raw[n:]
		var value uint64
		var field []byte
		switch key & 7 {
		case 0:
			if value, n = binary.Uvarint(raw); n <= 0 {
				return errNoModel
			}
		case 1:
			if n = 8; len(raw) >= n {
				value = binary.LittleEndian.Uint64(raw)
			}
		case 2:
			length, m := binary.Uvarint(raw)
			if m <= 0 || length > uint64(len(raw)-m) {
				return errNoModel
			}
			n = m + int(length)
			field = raw[m:n]
		case 5:
			if n = 4; len(raw) >= n {
				value = uint64(binary.LittleEndian.Uint32(raw))
			}
		default:
			return errNoModel
		}
		if n > len(raw) {
			return errNoModel
		}
		if err := do(key>>3, value, field); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}

// MergesOf returns the merges of a vocabulary of the SentencePiece kind, which has scores instead: each way
// to put a piece together of two others, the piece with the highest score first. Of the ways to make one
// piece, the one whose left part has the lowest id comes first, and then the one whose right part has: so
// they are ordered in Phi-3's tokenizer.json, which an older transformers made. The order matters to pieces
// that can overlap themselves. pieces and scores have the same length; vocab has the id of each piece. Pieces
// are UTF-8.
func MergesOf(pieces []string, scores []float32, vocab map[string]int32) ([][2]string, error) {
	list := make([]piece, len(pieces))
	for id, text := range pieces {
		if len(text) > maxModelPiece {
			return nil, fmt.Errorf("piece %d has %d bytes, more than %d", id, len(text), maxModelPiece)
		}
		list[id] = piece{text: text, score: scores[id]}
	}
	ways, err := waysOf(list, vocab)
	if err != nil {
		return nil, err
	}
	return inOrder(ways, func(a, b way) int { return cmp.Compare(b.score, a.score) }), nil
}

// mergesOf is [MergesOf] in the order of transformers 4.57: of the ways to make one piece, the one with the
// most characters on the left comes first.
func mergesOf(pieces []piece, vocab vocabulary) (mergeList, error) {
	ways, err := waysOf(pieces, vocab)
	if err != nil {
		return nil, err
	}
	return inOrder(ways, func(a, b way) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.leftRunes, a.leftRunes),
			cmp.Compare(b.rightLen, a.rightLen))
	}), nil
}

// A way is one way to put a piece together of two others.
type way struct {
	left, right         string
	score               float32 // of the piece
	leftID, rightID     int32
	leftRunes, rightLen int32
}

// waysOf returns the ways, piece by piece. Those of one piece are in the order of their parts' ids.
func waysOf(pieces []piece, vocab map[string]int32) ([]way, error) {
	var ways []way
	tried := 0
	for id, p := range pieces {
		if id < 3 {
			p.score = 0 // transformers gives the first three none
		}
		first, runes := len(ways), utf8.RuneCountInString(p.text)
		at := 0
		for cut := range p.text {
			if cut == 0 {
				continue
			}
			at++
			if tried++; tried > maxCuts {
				return nil, fmt.Errorf("its pieces have more than %d places to cut them in two", maxCuts)
			}
			left, ok := vocab[p.text[:cut]]
			if !ok {
				continue
			}
			right, ok := vocab[p.text[cut:]]
			if !ok {
				continue
			}
			ways = append(ways, way{
				p.text[:cut], p.text[cut:], p.score, left, right, int32(at), int32(runes - at),
			})
		}
		slices.SortFunc(ways[first:], func(a, b way) int {
			return cmp.Or(cmp.Compare(a.leftID, b.leftID), cmp.Compare(a.rightID, b.rightID))
		})
	}
	return ways, nil
}

// inOrder sorts ways and returns them as merges.
func inOrder(ways []way, compare func(a, b way) int) [][2]string {
	slices.SortStableFunc(ways, compare)
	merges := make([][2]string, len(ways))
	for i, w := range ways {
		merges[i] = [2]string{w.left, w.right}
	}
	return merges
}
