package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Description is a tokenizer in the terms of a format that is not Hugging Face's, to write it in that format.
// Such a format does not have everything: what is written is to be read again and compared, see
// [Tokenizer.Difference].
type Description struct {
	ByteLevel    bool   // the byte-level kind; false: the SentencePiece kind
	Pattern      string // byte-level: what cuts text into words, such as PatternO200K; "" if nothing does
	IgnoreMerges bool   // byte-level: a word that is a token is not merged
	SpacePrefix  bool   // SentencePiece: a "▁" comes before each segment

	Pieces []string     // by id: as the vocabulary spells it, of an added token its text; "" if there is none
	Merges [][2]string  // the lowest rank first
	Added  []AddedToken // by id

	AddBOS, AddEOS bool              // whether ids come before and after a text
	Names          map[string]string // bos_token and so on, those that a file has
	Templates      map[string]string // the chat templates by name; "default" is the usual one
}

// AddedToken is a token that is found in the text itself. Its JSON is an entry of added_tokens in
// tokenizer.json.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // not inside a word
	Lstrip     bool   `json:"lstrip"`      // swallows the white space before it
	Rstrip     bool   `json:"rstrip"`      // and after it
	Normalized bool   `json:"normalized"`  // is looked for in the normalized text
	Special    bool   `json:"special"`     // is left out of text for users
}

// Describe describes the tokenizer.
func (t *Tokenizer) Describe() *Description {
	d := &Description{
		ByteLevel: t.decoder.byteLevel, Pattern: t.pattern, IgnoreMerges: t.bpe.ignoreMerges,
		SpacePrefix: len(t.normalizers) > 0 && t.normalizers[0].prefix != "",
		Pieces:      slices.Clone(t.pieces), Merges: t.bpe.list(t.pieces), Added: t.describeAdded(),
		AddBOS: len(t.before) > 0, AddEOS: len(t.after) > 0,
		Names: map[string]string{}, Templates: map[string]string{},
	}
	for _, a := range d.Added {
		d.Pieces[a.ID] = a.Content
	}
	for key, token := range t.given {
		if token != nil {
			d.Names[key] = token.Content
		}
	}
	for name, template := range t.chatTemplates {
		d.Templates[name] = template.source
	}
	return d
}

// list returns the merges in the order of their ranks.
func (b *bpe) list(pieces []string) [][2]string {
	type ranked struct {
		pair uint64
		rank int32
	}
	order := make([]ranked, 0, len(b.merges))
	for pair, m := range b.merges {
		order = append(order, ranked{pair, m.rank})
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	merges := make([][2]string, len(order))
	for i, m := range order {
		merges[i] = [2]string{pieces[m.pair>>32], pieces[uint32(m.pair)]}
	}
	return merges
}

func (t *Tokenizer) describeAdded() []AddedToken {
	added := make([]AddedToken, len(t.added))
	for i, a := range t.added {
		added[i] = AddedToken{
			ID: a.id, Content: a.content, Special: a.special, Lstrip: a.lstrip, Rstrip: a.rstrip,
			SingleWord: a.singleWord, Normalized: a.normalized,
		}
	}
	slices.SortFunc(added, func(a, b AddedToken) int { return cmp.Compare(a.ID, b.ID) })
	return added
}

// Difference returns nil if both tokenizers give the same ids, texts and chats. Otherwise it says in which
// property they differ.
func (t *Tokenizer) Difference(other *Tokenizer) error {
	d, o := &t.decoder, &other.decoder
	switch {
	case d.byteLevel != o.byteLevel || d.plain != o.plain || d.join != o.join ||
		d.firstDrops != o.firstDrops || d.mark != o.mark || d.space != o.space || d.strip != o.strip ||
		d.stripMax != o.stripMax:
		return errors.New("the decoder")
	case !slices.Equal(t.normalizers, other.normalizers):
		return errors.New("the normalizer")
	case t.pattern != other.pattern || t.split == nil != (other.split == nil) ||
		t.wordMark != other.wordMark || !slices.Equal(t.prefixes, other.prefixes):
		return errors.New("the pre_tokenizer")
	case t.bpe.ignoreMerges != other.bpe.ignoreMerges:
		return errors.New("ignore_merges")
	case t.specialAsText != other.specialAsText:
		return errors.New("split_special_tokens")
	case !slices.Equal(t.pieces, other.pieces):
		return errors.New("the vocabulary")
	case !slices.Equal(t.bpe.list(t.pieces), other.bpe.list(other.pieces)):
		return errors.New("the merges")
	case !slices.Equal(t.before, other.before) || !slices.Equal(t.after, other.after):
		return errors.New("the tokens around a text")
	}
	added := other.describeAdded()
	for i, a := range t.describeAdded() {
		if i >= len(added) || a != added[i] {
			return fmt.Errorf("the added token %q", a.Content)
		}
	}
	if len(added) > len(t.added) {
		return fmt.Errorf("the added token %q", added[len(t.added)].Content)
	}
	return t.differenceOfChats(other)
}

// differenceOfChats compares the chat templates and the names that they use.
func (t *Tokenizer) differenceOfChats(other *Tokenizer) error {
	if len(t.chatTemplates)+len(other.chatTemplates) == 0 {
		return nil
	}
	keys := slices.Collect(maps.Keys(t.specialNames))
	for _, key := range slices.Sorted(slices.Values(slices.AppendSeq(keys, maps.Keys(other.specialNames)))) {
		if t.specialNames[key] != other.specialNames[key] &&
			(slices.Contains(specialKeys, key) || t.mentions(key)) {
			return fmt.Errorf("%s, a variable of the chat template", key)
		}
	}
	const list = "additional_special_tokens"
	if !slices.Equal(t.additionalSpecial, other.additionalSpecial) && t.mentions(list) {
		return errors.New(list + ", a variable of the chat template")
	}
	if len(t.chatTemplates) != len(other.chatTemplates) {
		return errors.New("the number of chat templates")
	}
	for name, template := range t.chatTemplates {
		if template.source != other.chatTemplates[name].source {
			return fmt.Errorf("the chat template %q", name)
		}
	}
	return nil
}

// mentions reports whether a chat template may use a variable.
func (t *Tokenizer) mentions(variable string) bool {
	for _, template := range t.chatTemplates {
		if strings.Contains(template.source, variable) {
			return true
		}
	}
	return false
}
