package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"unicode/utf8"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/strictjson"
)

// Tokenizer is one checkpoint's tokenizer. It is read-only after Load and safe for concurrent use.
type Tokenizer struct {
	bpe         *bpe
	normalizers []step
	prefixes    []step   // what the pre-tokenizer changes, after normalized added tokens are found
	growth      int      // times that both can lengthen a long text
	split       splitter // nil for the SentencePiece kind, whose words end where no merge reaches across
	wordMark    string   // SentencePiece kind: words are cut before each of these; "" if they are not

	specialAsText bool // tokenizer_config.json wants EncodeOptions.SpecialAsText always (split_special_tokens)

	addedRaw        *addedSet // tokens searched for in the raw text: all of the Phi family's
	addedNormalized *addedSet // tokens searched for after normalization
	addedBytes      int       // in both sets
	addedID         map[string]int32
	before, after   []int32 // BOS and EOS as Encode adds them; usually empty or one id

	pieces  []string // id -> piece, "" where an id has no token; for the decoder
	special []bool   // id -> left out of text by skipSpecial
	decoder decoderKind

	bos, eos         int32             // -1: none named
	specialNames     map[string]string // bos_token, eos_token, ... for the chat template
	chatTemplate     string
	chatTemplateFile string // where it came from, for errors; "" if there is none

	mergers sync.Pool // of *merger: each Encode call has its own, with a warm word cache
}

// Bounds on what a checkpoint may ask for. Real ones: up to 16 MB, 200,064 ids, added tokens of 20 bytes.
const (
	maxFileSize     = 64 << 20 // bytes of any one file
	maxIDs          = 1 << 20  // ids
	maxPiece        = 1 << 12  // bytes of a piece of the vocabulary; Phi-4's longest has 256
	maxAdded        = 1 << 16  // added tokens; Phi-4 has 96
	maxAddedContent = 1 << 10  // bytes of one added token
	maxAddedBytes   = 1 << 20  // bytes of all added tokens as they are searched for; Phi-4's have 2 KB
	maxAround       = 64       // ids that a post-processor may put around a text
	maxSteps        = 16       // of normalizer, pre-tokenizer, post-processor and decoder; most have one, and each may read the whole text
	maxDecoderText  = 64       // bytes of what the decoder replaces or strips; "▁" has 3
	maxGrowth       = 64       // times that normalizing may lengthen a text; Phi-3's " " to "▁" is 3
)

// Load reads the tokenizer of a checkpoint directory: tokenizer.json (required), and where present tokenizer_config.json,
// special_tokens_map.json and chat_template.jinja. Files are untrusted: whatever they hold, the result is a tokenizer that
// does what Hugging Face's would, or an error that names file and reason.
func Load(fsys fs.FS) (*Tokenizer, error) {
	raw, err := readFile(fsys, "tokenizer.json")
	if err != nil {
		return nil, err
	}
	t, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if err := t.readConfig(fsys); err != nil {
		return nil, err
	}
	return t, nil
}

// readFile reads a file of bounded size. The error names it.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	raw, err := strictjson.ReadFile(fsys, name, maxFileSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// parse builds a tokenizer from tokenizer.json alone.
func parse(raw []byte) (*Tokenizer, error) {
	var file tokenizerJSON
	if err := strictjson.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	t := &Tokenizer{bos: -1, eos: -1, specialNames: map[string]string{}}
	var err error
	if t.decoder, err = newDecoder(file.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if t.normalizers, err = newNormalizers(file.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	byteLevel, err := t.readPreTokenizer(file.PreTokenizer, false)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	var short int
	if t.growth, short = growth(t.changes()); short > maxGrowth {
		return nil, fmt.Errorf("normalizer: it can make a text %d times as long, more than %d", short, maxGrowth)
	}
	if byteLevel != t.decoder.byteLevel {
		return nil, errors.New("pre_tokenizer and decoder do not belong together: one is ByteLevel, the other is not")
	}
	if t.bpe, err = newBPE(file.Model, byteLevel); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	added, err := readList[hf.TokenConfig](file.AddedTokens, maxAdded)
	if err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if err := t.newVocabulary(added); err != nil {
		return nil, err
	}
	if t.before, t.after, err = t.newTemplate(file.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	t.mergers.New = func() any { return newMerger(t.bpe) }
	return t, nil
}

// changes are all steps that a segment goes through.
func (t *Tokenizer) changes() []step { return slices.Concat(t.normalizers, t.prefixes) }

// newBPE reads the model. What the Phi family does not use (dropout, sub-word prefixes, unknown tokens) is refused.
func newBPE(model modelJSON, byteLevel bool) (*bpe, error) {
	switch {
	case model.Type != "BPE" && model.Type != "":
		return nil, fmt.Errorf("type %q is not supported: only BPE", model.Type)
	case model.Dropout != 0:
		return nil, fmt.Errorf("dropout %g would make encoding random: only null or 0 is supported", model.Dropout)
	case model.ContinuingSubwordPrefix != "" || model.EndOfWordSuffix != "":
		return nil, errors.New("continuing_subword_prefix and end_of_word_suffix are not supported")
	case model.IgnoreMerges && !byteLevel:
		return nil, errors.New("ignore_merges is supported with a ByteLevel pre_tokenizer only")
	case !byteLevel && !model.ByteFallback:
		return nil, errors.New("neither byte_fallback nor a ByteLevel pre_tokenizer: such a vocabulary cannot write every text")
	}
	b := &bpe{vocab: model.Vocab, byteLevel: byteLevel, ignoreMerges: model.IgnoreMerges}
	isByte := make(map[int32]bool, 256)
	for c := range 256 {
		piece := fmt.Sprintf("<0x%02X>", c)
		if byteLevel {
			piece = string(byteLetter[c])
		}
		id, ok := b.vocab[piece]
		if !ok {
			return nil, fmt.Errorf("the vocabulary lacks %q, the token of byte %d", piece, c)
		}
		b.byteID[c], isByte[id] = id, true
	}
	for piece := range b.vocab {
		n := len(piece)
		if byteLevel {
			n = utf8.RuneCountInString(piece)
		}
		if b.longest = max(b.longest, n); len(piece) > maxPiece {
			return nil, fmt.Errorf("the token %q has %d bytes, more than %d", strictjson.Clip(piece), len(piece), maxPiece)
		}
	}
	b.merges = make(map[uint64]merge, len(model.Merges))
	var joined []byte
	for rank, pair := range model.Merges {
		joined = append(append(joined[:0], pair[0]...), pair[1]...)
		left, okLeft := b.vocab[pair[0]]
		right, okRight := b.vocab[pair[1]]
		id, ok := b.vocab[string(joined)]
		if !okLeft || !okRight || !ok {
			return nil, fmt.Errorf("merge %d (%q + %q) names a token outside the vocabulary", rank, pair[0], pair[1])
		}
		b.merges[pairKey(left, right)] = merge{rank: int32(rank), id: id}
		if !byteLevel {
			b.noteJoined(joined)
			b.neverCut = b.neverCut || isByte[left] || isByte[right]
		}
	}
	return b, nil
}

// newVocabulary fills the tables from id to piece and the added-token sets.
func (t *Tokenizer) newVocabulary(added []hf.TokenConfig) error {
	top := int32(-1)
	for piece, id := range t.bpe.vocab {
		if id < 0 || id >= maxIDs {
			return fmt.Errorf("model: token %q has id %d, outside 0..%d", piece, id, maxIDs-1)
		}
		top = max(top, id)
	}
	for _, a := range added {
		if a.Id < 0 || a.Id >= maxIDs {
			return fmt.Errorf("added_tokens: token %q has id %d, outside 0..%d", a.Content, a.Id, maxIDs-1)
		}
		top = max(top, int32(a.Id))
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
			return fmt.Errorf("model: token %q has a character that stands for no byte", strictjson.Clip(piece))
		}
		t.pieces[id] = piece
	}
	t.addedRaw, t.addedNormalized, t.addedID = &addedSet{}, &addedSet{}, make(map[string]int32)
	// Of two tokens with one spelling the first wins, and special tokens come first, as in Hugging Face's trie.
	for _, special := range []bool{true, false} {
		for i, a := range added {
			if a.Special != special {
				continue
			}
			if err := t.addToken(a); err != nil {
				return fmt.Errorf("added_tokens, entry %d: %w", i, err)
			}
		}
	}
	t.addedRaw.build()
	t.addedNormalized.build()
	return nil
}

// addToken enters one added token into the tables.
func (t *Tokenizer) addToken(a hf.TokenConfig) error {
	if a.Content == "" || len(a.Content) > maxAddedContent {
		return fmt.Errorf("content has %d bytes, want 1..%d", len(a.Content), maxAddedContent)
	}
	if t.decoder.falseByte(a.Content) {
		return fmt.Errorf("token %q looks like a byte but is none", a.Content)
	}
	id := int32(a.Id)
	if inModel, ok := t.bpe.vocab[a.Content]; ok && inModel != id {
		return fmt.Errorf("token %q has id %d here and %d in the vocabulary", a.Content, id, inModel)
	}
	piece := a.Content
	if t.decoder.byteLevel {
		// The decoder reads letters as bytes. A token with any other character stands for its own text, so spell that.
		if _, ok := letterBytes(piece); !ok {
			piece = byteLetters(piece)
		}
	}
	if other := t.pieces[id]; other != "" && other != piece {
		return fmt.Errorf("tokens %q and %q share id %d", other, a.Content, id)
	}
	t.pieces[id] = piece
	t.special[id] = a.Special
	if _, ok := t.addedID[a.Content]; !ok {
		t.addedID[a.Content] = id
	}
	token := &addedToken{
		id: id, content: a.Content, special: a.Special,
		lstrip: a.Lstrip, rstrip: a.Rstrip, singleWord: a.SingleWord, normalized: a.Normalized,
	}
	set, pattern := t.addedRaw, a.Content
	if a.Normalized {
		set, pattern = t.addedNormalized, change(t.normalizers, a.Content, true)
	}
	if t.addedBytes += len(pattern); t.addedBytes > maxAddedBytes {
		return fmt.Errorf("all added tokens together have more than %d bytes", maxAddedBytes)
	}
	if pattern != "" {
		set.add(pattern, token)
	}
	return nil
}

// postJSON is the "post_processor" entry.
type postJSON struct {
	Type          string `json:"type"`
	Processors    entry  `json:"processors"`
	Single        entry  `json:"single"` // of partJSON
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// partJSON is one part of a template: a special token, or the text.
type partJSON struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

// newTemplate returns the ids that the post-processor puts before and after a single text.
func (t *Tokenizer) newTemplate(e entry) (before, after []int32, err error) {
	if e.absent() {
		return nil, nil, nil
	}
	var top postJSON
	if err := e.read(&top); err != nil {
		return nil, nil, err
	}
	steps := []postJSON{top}
	if top.Type == "Sequence" {
		if steps, err = readList[postJSON](top.Processors, maxSteps); err != nil {
			return nil, nil, fmt.Errorf("processors: %w", err)
		}
	}
	for _, step := range steps {
		switch step.Type {
		case "ByteLevel": // moves offsets only
		case "TemplateProcessing":
			b, a, err := t.template(&step)
			if err != nil {
				return nil, nil, err
			}
			before, after = append(b, before...), append(after, a...)
			if len(before)+len(after) > maxAround {
				return nil, nil, fmt.Errorf("puts more than %d ids around a text", maxAround)
			}
		default:
			return nil, nil, fmt.Errorf("type %q is not supported: only null, ByteLevel, TemplateProcessing, or one Sequence of them", strictjson.Clip(step.Type))
		}
	}
	return before, after, nil
}

// template reads one TemplateProcessing.
func (t *Tokenizer) template(post *postJSON) (before, after []int32, err error) {
	parts, err := readList[partJSON](post.Single, 2*maxAround)
	if err != nil {
		return nil, nil, fmt.Errorf("single: %w", err)
	}
	texts := 0
	for _, part := range parts {
		switch {
		case part.Sequence != nil && part.Sequence.ID == "A":
			texts++
		case part.SpecialToken != nil:
			ids := post.SpecialTokens[part.SpecialToken.ID].IDs
			for _, id := range ids {
				if t.rawPiece(id) == "" {
					return nil, nil, fmt.Errorf("special token %q has id %d, which is no token", part.SpecialToken.ID, id)
				}
			}
			if len(ids) == 0 {
				return nil, nil, fmt.Errorf("special token %q is not in special_tokens", part.SpecialToken.ID)
			}
			if len(before)+len(after)+len(ids) > maxAround {
				return nil, nil, fmt.Errorf("puts more than %d ids around a text", maxAround)
			}
			if texts == 0 {
				before = append(before, ids...)
			} else {
				after = append(after, ids...)
			}
		default:
			return nil, nil, errors.New("a part of single is neither a SpecialToken nor the Sequence A")
		}
	}
	if texts != 1 {
		return nil, nil, fmt.Errorf("single holds the text %d times, want once", texts)
	}
	return before, after, nil
}
