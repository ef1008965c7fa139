package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"unicode/utf8"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/jinja"
	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// Tokenizer is one checkpoint's tokenizer. It is read-only after Load and safe for concurrent use.
type Tokenizer struct {
	bpe         *bpe
	normalizers []step
	prefixes    []step   // what the pre-tokenizer changes, after normalized added tokens are found
	growth      int      // times that both can lengthen a long text
	pattern     string   // what split matches; "" for the SentencePiece kind
	split       splitter // nil for the SentencePiece kind, whose words end where no merge reaches across
	wordMark    string   // SentencePiece kind: words are cut before each of these; "" if they are not

	// tokenizer_config.json wants EncodeOptions.SpecialAsText always (split_special_tokens)
	specialAsText bool

	addedRaw        *addedSet              // tokens searched for in the raw text: all of the Phi family's
	addedNormalized *addedSet              // tokens searched for after normalization
	addedBytes      int                    // of their contents
	added           []*addedToken          // in the order in which they came
	addedBy         map[string]*addedToken // by content
	addedTop        int32                  // the highest of their ids; -1: there are none
	before, after   []int32                // BOS and EOS as Encode adds them; usually empty or one id

	pieces  []string // id -> piece, "" where an id has no token; for the decoder
	special []bool   // id -> left out of text by skipSpecial
	decoder decoderKind

	bos, eos          int32                   // -1: none named
	given             specialMap              // the names that a file has; others come from the class
	specialNames      map[string]string       // bos_token, eos_token, ... for the chat template
	additionalSpecial []string                // special tokens without a name, for the chat template
	chatTemplates     map[string]chatTemplate // by name
	templateVariables *jinja.Dict             // besides; nil: none

	mergers sync.Pool // of *merger: each Encode call has its own, with a warm word cache
}

// Bounds on a checkpoint's files. Real ones have up to 16 MB, 200,064 ids, and added tokens of 20 bytes.
const (
	maxFileSize     = 64 << 20 // bytes of any one file
	maxIDs          = 1 << 20  // ids
	maxPiece        = 1 << 12  // bytes of a piece of the vocabulary; Phi-4's longest has 256
	maxAdded        = 1 << 16  // added tokens; Phi-4 has 96
	maxAddedContent = 1 << 10  // bytes of one added token
	maxAddedBytes   = 1 << 20  // bytes of all added tokens as they are searched for; Phi-4's have 2 KB
	maxAround       = 64       // ids that a post-processor may put around a text
	// of normalizer, pre-tokenizer, post-processor and decoder; most have one, and each may read the whole
	// text
	maxSteps       = 16
	maxDecoderText = 64 // bytes of what the decoder replaces or strips; "▁" has 3
	maxGrowth      = 64 // times that normalizing may lengthen a text; Phi-3's " " to "▁" is 3
)

// A Source is a file system that makes a checkpoint's files from a file of another format, as package gguf
// does.
type Source interface {
	fs.FS
	// Vocabulary returns model.vocab and model.merges of tokenizer.json. The file itself lacks them: writing
	// and reading them as JSON would take longer than the rest of loading.
	Vocabulary() (vocab map[string]int32, merges [][2]string, err error)
	// NameOf returns what a file was made from. Errors name that.
	NameOf(file string) string
}

// Load reads the tokenizer of a checkpoint directory: tokenizer.json, or else tokenizer.model or vocab.json
// with merges.txt, and where present tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// chat_template.jinja, and what config.json says of the tokenizer. Files are untrusted: the
// result is a tokenizer that does what transformers 4.57 does, or an error that names file and reason.
func Load(fsys fs.FS) (*Tokenizer, error) {
	config, err := readConfig(fsys)
	if err != nil {
		return nil, err
	}
	file, source, err := readTokenizer(fsys, config)
	made, isMade := fsys.(Source)
	if isMade && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s give no tokenizer (%w)", made.NameOf("tokenizer.json"), fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if isMade {
		source = made.NameOf(source)
		if file.Model.Vocab, file.Model.Merges, err = made.Vocabulary(); err != nil {
			return nil, err
		}
	}
	t, err := parse(file, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if err := t.addConfigured(config); err != nil {
		return nil, err
	}
	if err := t.buildAdded(); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if err := t.applyClass(config); err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	t.given = config.names
	return t, t.readChatTemplate(fsys, config.ChatTemplate)
}

// readTokenizer reads tokenizer.json, or converts the older files to it.
func readTokenizer(fsys fs.FS, config *configuration) (file *tokenizerJSON, source string, err error) {
	raw, err := readFile(fsys, "tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) || err == nil && config.fromModel(fsys) {
		return convert(fsys, config, err)
	}
	if err != nil {
		return nil, "", err
	}
	file = &tokenizerJSON{}
	if err := strictjson.Unmarshal(raw, file); err != nil {
		return nil, "", fmt.Errorf("tokenizer.json: %w", err)
	}
	return file, "tokenizer.json", nil
}

// readFile reads a file of bounded size. The error names it.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	raw, err := strictjson.ReadFile(fsys, name, maxFileSize)
	if _, made := fsys.(Source); made && err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // it names what the file would be made from
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// parse builds a tokenizer from tokenizer.json alone. It uses the settings of the configuration that change
// how tokenizer.json is read.
func parse(file *tokenizerJSON, config *configuration) (*Tokenizer, error) {
	t := &Tokenizer{bos: -1, eos: -1, specialNames: map[string]string{}, specialAsText: config.SplitSpecial}
	var err error
	if t.decoder, err = newDecoder(file.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if t.normalizers, err = newNormalizers(file.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	byteLevel, err := t.readPreTokenizer(file.PreTokenizer, config.prefixSpace())
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	var short int
	if t.growth, short = growth(t.changes()); short > maxGrowth {
		return nil, fmt.Errorf("normalizer: it can make a text %d times as long, more than %d", short,
			maxGrowth)
	}
	if byteLevel != t.decoder.byteLevel {
		return nil, errors.New("pre_tokenizer and decoder do not belong together: one is ByteLevel, the " +
			"other is not")
	}
	if t.bpe, err = newBPE(file.Model, byteLevel); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	added, err := readList[hf.TokenConfig](file.AddedTokens, maxAdded)
	if err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if err := t.newVocabulary(); err != nil {
		return nil, err
	}
	for i, a := range added {
		token, err := t.fileToken(&a)
		if err == nil {
			err = t.addToken(token)
		}
		if err != nil {
			return nil, fmt.Errorf("added_tokens, entry %d: %w", i, err)
		}
	}
	if t.before, t.after, err = t.readPostProcessor(file.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	t.mergers.New = func() any { return newMerger(t.bpe) }
	return t, nil
}

// changes returns all steps that change a segment.
func (t *Tokenizer) changes() []step { return slices.Concat(t.normalizers, t.prefixes) }

// newBPE reads the model. What the Phi family does not use (dropout, sub-word prefixes, unknown tokens) is
// refused.
func newBPE(model modelJSON, byteLevel bool) (*bpe, error) {
	switch {
	case model.Type != "BPE" && model.Type != "":
		return nil, fmt.Errorf("type %q is not supported: only BPE", model.Type)
	case model.Dropout != 0:
		return nil, fmt.Errorf("dropout %g would make encoding random: only null or 0 is supported",
			model.Dropout)
	case model.ContinuingSubwordPrefix != "" || model.EndOfWordSuffix != "":
		return nil, errors.New("continuing_subword_prefix and end_of_word_suffix are not supported")
	case model.IgnoreMerges && !byteLevel:
		return nil, errors.New("ignore_merges is supported with a ByteLevel pre_tokenizer only")
	case !byteLevel && !model.ByteFallback:
		return nil, errors.New("neither byte_fallback nor a ByteLevel pre_tokenizer: such a vocabulary " +
			"cannot write every text")
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
			return nil, fmt.Errorf("the token %q has %d bytes, more than %d", show.Brief(piece),
				len(piece), maxPiece)
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
			return nil, fmt.Errorf("merge %d (%q + %q) names a token outside the vocabulary", rank, pair[0],
				pair[1])
		}
		b.merges[pairKey(left, right)] = merge{rank: int32(rank), id: id}
		if !byteLevel {
			b.noteJoined(joined)
			b.neverCut = b.neverCut || isByte[left] || isByte[right]
		}
	}
	return b, nil
}

// postJSON is the "post_processor" entry.
type postJSON struct {
	Type          string `json:"type"`
	Processors    entry  `json:"processors"`
	Single        entry  `json:"single"` // of singleJSON
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// singleJSON is one entry of a TemplateProcessing's "single": a special token, or the text.
type singleJSON struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

// readPostProcessor returns the ids that the post-processor puts before and after a single text.
func (t *Tokenizer) readPostProcessor(e entry) (before, after []int32, err error) {
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
			b, a, err := t.readAround(&step)
			if err != nil {
				return nil, nil, err
			}
			before, after = append(b, before...), append(after, a...)
			if len(before)+len(after) > maxAround {
				return nil, nil, fmt.Errorf("puts more than %d ids around a text", maxAround)
			}
		default:
			return nil, nil, fmt.Errorf("type %q is not supported: only null, ByteLevel, "+
				"TemplateProcessing, or one Sequence of them", show.Brief(step.Type))
		}
	}
	return before, after, nil
}

// readAround reads one TemplateProcessing.
func (t *Tokenizer) readAround(post *postJSON) (before, after []int32, err error) {
	parts, err := readList[singleJSON](post.Single, 2*maxAround)
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
					return nil, nil, fmt.Errorf("special token %q has id %d, which has no token",
						part.SpecialToken.ID, id)
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
