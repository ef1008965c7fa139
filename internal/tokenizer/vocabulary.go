package tokenizer

import (
	"errors"
	"fmt"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/show"
)

// newVocabulary fills the table from id to piece with the model's vocabulary.
func (t *Tokenizer) newVocabulary() error {
	top := int32(-1)
	for piece, id := range t.bpe.vocab {
		if id < 0 || id >= maxIDs {
			return fmt.Errorf("model: token %q has id %d, outside 0..%d", piece, id, maxIDs-1)
		}
		top = max(top, id)
	}
	t.pieces = make([]string, top+1)
	t.special = make([]bool, top+1)
	for piece, id := range t.bpe.vocab {
		if other := t.pieces[id]; other != "" {
			return fmt.Errorf("model: tokens %q and %q share id %d", other, piece, id)
		}
		if t.decoder.falseByte(piece) {
			return fmt.Errorf("model: token %q looks like a byte but is none", piece)
		}
		if t.decoder.byteLevel && !spellsBytes(piece) {
			return fmt.Errorf("model: token %q has a character that stands for no byte", piece)
		}
		t.pieces[id] = piece
	}
	t.addedBy, t.addedTop = make(map[string]*addedToken), -1
	return nil
}

// fileToken checks an entry of tokenizer.json's added_tokens.
func (t *Tokenizer) fileToken(a *hf.TokenConfig) (*addedToken, error) {
	if a.Id < 0 || a.Id >= maxIDs {
		return nil, fmt.Errorf("token %q has id %d, outside 0..%d", show.Brief(a.Content), a.Id,
			maxIDs-1)
	}
	id := int32(a.Id)
	if inModel, ok := t.bpe.vocab[a.Content]; ok && inModel != id {
		return nil, fmt.Errorf("token %q has id %d here and %d in the vocabulary", show.Brief(a.Content),
			id, inModel)
	}
	return &addedToken{
		id: id, content: a.Content, special: a.Special,
		lstrip: a.Lstrip, rstrip: a.Rstrip, singleWord: a.SingleWord, normalized: a.Normalized,
	}, nil
}

// nextID returns the id that Hugging Face gives to a new token, whatever id its file says.
func (t *Tokenizer) nextID(content string) int32 {
	if known := t.addedBy[content]; known != nil {
		return known.id
	}
	if id, ok := t.bpe.vocab[content]; ok {
		return id
	}
	return max(t.addedTop+1, int32(len(t.bpe.vocab)))
}

// addToken enters one added token into the tables, or changes the flags of one that is there.
func (t *Tokenizer) addToken(a *addedToken) error {
	if a.content == "" || len(a.content) > maxAddedContent {
		return fmt.Errorf("content has %d bytes, want 1..%d", len(a.content), maxAddedContent)
	}
	if t.decoder.falseByte(a.content) {
		return fmt.Errorf("token %q looks like a byte but is none", a.content)
	}
	if known := t.addedBy[a.content]; known != nil {
		if known.id != a.id {
			return fmt.Errorf("token %q has id %d and id %d", a.content, known.id, a.id)
		}
		// Two things stay, as in tokenizers 0.22: a special token stays special, and a token that was
		// searched for in the raw text still is.
		raw := !known.normalized || !a.normalized && !(known.special && a.special)
		a.normalized, a.special = !raw, a.special || known.special
		t.special[a.id] = a.special
		*known = *a
		return nil
	}
	if len(t.added) == maxAdded {
		return fmt.Errorf("more than %d added tokens", maxAdded)
	}
	if a.id >= maxIDs {
		return fmt.Errorf("token %q would get id %d, outside 0..%d", a.content, a.id, maxIDs-1)
	}
	piece := a.content
	if t.decoder.byteLevel {
		// The decoder reads letters as bytes. A token with any other character stands for its own text, so
		// spell that.
		if _, ok := letterBytes(piece); !ok {
			piece = byteLetters(piece)
		}
	}
	if missing := int(a.id) + 1 - len(t.pieces); missing > 0 {
		t.pieces = append(t.pieces, make([]string, missing)...)
		t.special = append(t.special, make([]bool, missing)...)
	}
	if other := t.pieces[a.id]; other != "" && other != piece {
		return fmt.Errorf("tokens %q and %q share id %d", other, a.content, a.id)
	}
	t.pieces[a.id], t.special[a.id] = piece, a.special
	t.added = append(t.added, a)
	t.addedBy[a.content], t.addedTop = a, max(t.addedTop, a.id)
	if t.addedBytes += len(a.content); t.addedBytes > maxAddedBytes {
		return errors.New(tooManyAddedBytes)
	}
	return nil
}

// buildAdded makes the sets that are searched for. Of two tokens with one spelling the first wins, and
// special tokens come first, as in Hugging Face's trie.
func (t *Tokenizer) buildAdded() error {
	t.addedRaw, t.addedNormalized = &addedSet{}, &addedSet{}
	total := 0
	for _, special := range []bool{true, false} {
		for _, a := range t.added {
			if a.special != special {
				continue
			}
			set, pattern := t.addedRaw, a.content
			if a.normalized {
				set, pattern = t.addedNormalized, change(t.normalizers, a.content, true)
			}
			if total += len(pattern); total > maxAddedBytes {
				return errors.New("added_tokens: " + tooManyAddedBytes)
			}
			if pattern != "" {
				set.add(pattern, a)
			}
		}
	}
	t.addedRaw.build()
	t.addedNormalized.build()
	return nil
}

var tooManyAddedBytes = fmt.Sprintf("all added tokens together have more than %d bytes", maxAddedBytes)
