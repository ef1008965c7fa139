package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"phi3/internal/show"
)

// Without tokenizer.json, transformers converts the files of an older checkpoint: tokenizer.model, of
// SentencePiece, or vocab.json with merges.txt, of GPT-2. phi3 does that in memory, with the same result.

const modelFile = "tokenizer.model"

// fromModel reports whether transformers would not read tokenizer.json, but make a new one: the Llama class
// does with add_prefix_space or from_slow, if there is something to make it of.
func (c *configuration) fromModel(fsys fs.FS) bool {
	if !c.isLlama() || c.AddPrefix == nil && !c.FromSlow {
		return false
	}
	_, err := fs.Stat(fsys, modelFile)
	// from_slow: transformers 4.57 then passes on an add_prefix_space of None, which is false
	if err == nil && c.AddPrefix == nil {
		c.AddPrefix = new(bool)
	}
	return err == nil
}

// convert makes a tokenizer.json from the other files. missing is the error to return if there are none.
//
// transformers has a converter of its own for many classes, each with other words and other tokens around a
// text. Those of Llama and GPT-2 are here; the files of another class would give wrong ids.
func convert(
	fsys fs.FS, config *configuration, missing error,
) (file *tokenizerJSON, source string, err error) {
	if !config.likeGPT2() {
		raw, err := readFile(fsys, modelFile)
		if err == nil {
			if !config.isLlama() && config.Class != "" {
				return nil, "", config.noConverter(modelFile)
			}
			if file, err = convertSentencePiece(raw, config); err != nil {
				return nil, "", fmt.Errorf("%s: %w", modelFile, err)
			}
			return file, modelFile, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	if !config.isLlama() {
		if _, err := fs.Stat(fsys, "vocab.json"); err == nil && !config.likeGPT2() && config.Class != "" {
			return nil, "", config.noConverter("vocab.json")
		}
		file, err := convertGPT2(fsys, config)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, "vocab.json", err
		}
	}
	return nil, "", missing
}

func (c *configuration) noConverter(name string) error {
	return fmt.Errorf("%s: the tokenizer's class is %q, and without tokenizer.json only those of Llama, "+
		"GPT2 and CodeGen can be read: "+
		"load it in transformers and save it, which writes tokenizer.json", name, show.Brief(c.Class))
}

// convertSentencePiece is transformers' LlamaConverter.
func convertSentencePiece(raw []byte, config *configuration) (*tokenizerJSON, error) {
	pieces, err := readSentencePiece(raw)
	if err != nil {
		return nil, err
	}
	file := &tokenizerJSON{Model: modelJSON{
		Type: "BPE", ByteFallback: true,
		Vocab: make(vocabulary, len(pieces)),
	}}
	var added []map[string]any
	for id, p := range pieces {
		if other, ok := file.Model.Vocab[p.text]; ok {
			return nil, fmt.Errorf("pieces %d and %d are both %q", other, id, p.text)
		}
		file.Model.Vocab[p.text] = int32(id)
		if p.kind == controlPiece || p.kind == userPiece {
			added = append(added, map[string]any{
				"id": id, "content": p.text,
				"special": p.kind == controlPiece,
			})
		}
	}
	if len(added) > 0 {
		if file.AddedTokens, err = json.Marshal(added); err != nil {
			return nil, err
		}
	}
	if file.Model.Merges, err = mergesOf(pieces, file.Model.Vocab); err != nil {
		return nil, err
	}
	legacy, prefix := config.Legacy == nil || *config.Legacy, config.AddPrefix == nil || *config.AddPrefix
	const replace = `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`
	switch {
	case legacy && prefix:
		file.Normalizer = entry(`{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},` +
			replace + `]}`)
	case legacy:
		file.Normalizer = entry(replace)
	case prefix:
		file.PreTokenizer = entry(`{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}`)
	default:
		file.PreTokenizer = entry(`{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}`)
	}
	decoders := `{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}`
	if prefix {
		decoders += `,{"type":"Strip","content":" ","start":1,"stop":0}`
	}
	file.Decoder = entry(`{"type":"Sequence","decoders":[` + decoders + `]}`)
	return file, nil
}

// convertGPT2 is transformers' GPT2Converter. Its pattern of words is GPT-2's, whatever the model was trained
// with.
func convertGPT2(fsys fs.FS, config *configuration) (*tokenizerJSON, error) {
	vocab, err := readFile(fsys, "vocab.json")
	if err != nil {
		return nil, err
	}
	merges, err := readFile(fsys, "merges.txt")
	if err != nil {
		return nil, err
	}
	file := &tokenizerJSON{
		Model:        modelJSON{Type: "BPE"},
		PreTokenizer: entry(`{"type":"ByteLevel"}`),
		Decoder:      entry(`{"type":"ByteLevel"}`),
	}
	if err := file.Model.Vocab.UnmarshalJSON(vocab); err != nil {
		return nil, fmt.Errorf("vocab.json: %w", err)
	}
	lines := strings.Split(string(merges), "\n")
	if len(lines) < 2 {
		return nil, errors.New("merges.txt: is not a line with the version, followed by a list of merges")
	}
	// transformers ignores the first line, and text after the last newline
	for i, line := range lines[1 : len(lines)-1] {
		pair := strings.Fields(line)
		if len(pair) != 2 {
			return nil, fmt.Errorf("merges.txt, line %d: not two parts with a space between", i+2)
		}
		file.Model.Merges = append(file.Model.Merges, [2]string{pair[0], pair[1]})
	}
	if bos := config.name("bos_token"); bos != nil && string(config.AddBOS) == "true" {
		config.addsBOS = true
	}
	return file, nil
}
