package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

type tokenizeFlags struct {
	model     modelFlags
	prompt    promptFlags
	decode    bool
	noSpecial bool
	json      bool
}

func newTokenize(s *streams) *cobra.Command {
	var f tokenizeFlags
	cmd := &cobra.Command{
		Use:   "tokenize",
		Short: "Turn text into tokens, or ids into text",
		Long: `Show which tokens a text is cut into, as the model gets it; with --decode, the text
that ids stand for. The directory needs the tokenizer's files only.

Special tokens written in the text, such as <|end|>, count as such unless
--no-special takes them literally. A token that the checkpoint puts before a text,
a BOS, is shown; with --chat, the chat template comes first.

` + inputHelp("prompt"),
		Example: `  phi3 tokenize --prompt "The capital of Germany is"
  phi3 tokenize --chat --prompt Hello --json
  echo 303 288 285 1704 268 | phi3 tokenize --decode`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.registerModel(flags)
	f.prompt.register(flags)
	flags.BoolVar(&f.decode, "decode", false, "the input is ids, between blanks or commas: print their text")
	flags.BoolVar(&f.noSpecial, "no-special", false, "read special tokens in the text as ordinary characters")
	flags.BoolVar(&f.json, "json", false, "print one JSON object with ids and pieces")
	return cmd
}

// tokenized is the answer of --json.
type tokenized struct {
	IDs    []int32  `json:"ids"`
	Pieces []string `json:"pieces"` // as in the vocabulary; "" for an id without a token
	Text   *string  `json:"text,omitempty"`
}

func (f *tokenizeFlags) run(ctx context.Context, s *streams) error {
	defer f.model.close()
	switch {
	case f.decode && f.prompt.chat:
		return usagef("--decode and --chat exclude each other: a chat template is for text")
	case f.decode && f.noSpecial:
		return usagef("--decode and --no-special exclude each other: ids are what they are")
	}
	if err := f.model.checkName(); err != nil {
		return err
	}
	input, err := f.prompt.read(ctx, s)
	if err != nil {
		return err
	}
	t, err := f.model.tokenizer()
	if err != nil {
		return err
	}
	if f.decode {
		return f.writeText(s, t, input)
	}
	text, o, err := f.prompt.render(t, input)
	if err != nil {
		return err
	}
	o.SpecialAsText = f.noSpecial
	ids, err := t.Encode(ctx, text, o)
	if err != nil {
		return fmt.Errorf("encode the text: %w", err)
	}
	if f.json {
		return writeJSON(s.out, newTokenized(t, ids))
	}
	rows := [][]string{{"position", "id", "piece"}}
	for i, id := range ids {
		rows = append(rows, []string{strconv.Itoa(i), strconv.Itoa(int(id)), shownPiece(t.Piece(id))})
	}
	var b strings.Builder
	alignRight(&b, rows, 0, 1)
	show.Fprintf(&b, "\n%d tokens, %d characters, %d bytes\n", len(ids), utf8.RuneCountInString(text), len(text))
	_, err = io.WriteString(s.out, b.String())
	return err
}

func newTokenized(t *tokenizer.Tokenizer, ids []int32) *tokenized {
	answer := &tokenized{IDs: nonNil(ids), Pieces: []string{}}
	for _, id := range ids {
		answer.Pieces = append(answer.Pieces, t.Piece(id))
	}
	return answer
}

// writeText decodes the ids in input. Special tokens are part of the text.
func (f *tokenizeFlags) writeText(s *streams, t *tokenizer.Tokenizer, input string) error {
	ids, err := parseIDs(input)
	if err != nil {
		return err
	}
	var unknown []string
	for _, id := range ids {
		if t.Piece(id) == "" {
			unknown = append(unknown, strconv.Itoa(int(id)))
		}
	}
	if n := len(unknown); n > 0 {
		_, _ = show.Fprintf(s.notes(), "warning: without a token, and so without text: %s%s\n", strings.Join(unknown[:min(n, 5)], ", "), ellipsis(n > 5))
	}
	text := t.Decode(ids, false)
	if f.json {
		answer := newTokenized(t, ids)
		answer.Text = &text
		return writeJSON(s.out, answer)
	}
	_, err = io.WriteString(s.text(), text+"\n")
	return err
}

// parseIDs reads numbers between blanks and commas, also a list in brackets.
func parseIDs(input string) ([]int32, error) {
	var ids []int32
	for _, word := range strings.FieldsFunc(input, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) }) {
		id, err := strconv.ParseInt(word, 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%.40q is no token id", word)
		}
		ids = append(ids, int32(id))
	}
	if len(ids) == 0 {
		return nil, errors.New("there are no ids to decode")
	}
	return ids, nil
}
