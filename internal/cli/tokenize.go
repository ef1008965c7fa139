package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"phi3/internal/input"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
	"phi3/internal/usage"
)

// Limits of what tokenize keeps in memory. A normalizer, or an id with a long piece, can make much of a short
// input. They are variables for tests.
var (
	maxTokens  = 16 << 20      // of a text, or ids to decode
	maxDecoded = input.MaxText // bytes of the pieces that ids stand for
)

type tokenizeFlags struct {
	model  modelFlags
	prompt promptFlags
	decode bool
	json   bool
}

func newTokenize(s *streams) *cobra.Command {
	var f tokenizeFlags
	cmd := &cobra.Command{
		Use:   "tokenize",
		Short: "Turn text into tokens, or ids into text",
		Long: `Show the tokens of a text, as the model gets them. With --decode, show the text of token
ids instead. The model's directory needs only the tokenizer's files.

phi3 reads <|end|> and other special tokens in the text as special tokens. With
--no-special, it reads them as ordinary characters. If the checkpoint adds a BOS token
before a text, phi3 shows it. With --chat, phi3 applies the chat template first.

` + inputHelp("prompt", "phi3 keeps every byte of a file or a pipe, including a newline at the end."),
		Example: `  phi3 tokenize --prompt "The capital of Germany is"
  phi3 tokenize --chat --prompt Hello --json
  echo 303 288 285 1704 268 | phi3 tokenize --decode`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.registerModel(flags)
	f.prompt.register(flags)
	flags.BoolVar(&f.decode, "decode", false,
		"the input is ids, separated by spaces or commas: print their text")
	flags.BoolVar(&f.json, "json", false, "print one JSON object with ids and pieces")
	return cmd
}

func (f *tokenizeFlags) run(ctx context.Context, s *streams) error {
	switch {
	case f.decode && f.prompt.chat:
		return usage.Errorf("--decode and --chat exclude each other: a chat template is for text")
	case f.decode && f.prompt.noSpecial:
		return usage.Errorf("--decode and --no-special exclude each other: --no-special is for text")
	}
	if err := f.model.checkName(); err != nil {
		return err
	}
	f.prompt.whole = true
	input, err := f.prompt.read(ctx, s)
	if err != nil {
		return err
	}
	checkpoint, err := f.model.openCached()
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	t, err := loadTokenizer(checkpoint)
	if err != nil {
		return err
	}
	if f.decode {
		return f.writeText(ctx, s, t, input)
	}
	codec := f.prompt.codec(t)
	prompt, err := f.prompt.render(ctx, codec, input)
	if err != nil {
		return err
	}
	ids, err := codec.Encode(ctx, prompt, maxTokens)
	if many := new(tokenizer.TooManyError); errors.As(err, &many) {
		return fmt.Errorf("the text has more than %s tokens; tokenize shows at most %[1]s: cut it into parts",
			show.Thousands(int64(many.Max)))
	}
	if err != nil {
		return fmt.Errorf("encode the text: %w", err)
	}
	if f.json {
		return writeTokens(ctx, s.out, t, ids, nil)
	}
	return writeTable(ctx, s.out, t, ids, prompt.String())
}

// writeTable writes a row for each token, and the number of tokens. It writes each row as it is made, because
// a long text has millions.
func writeTable(ctx context.Context, w io.Writer, t *tokenizer.Tokenizer, ids []int32, text string) error {
	out := bufio.NewWriter(w)
	position := max(len("position"), len(strconv.Itoa(len(ids)-1)))
	id := max(len("id"), len(strconv.Itoa(int(slices.Max(append([]int32{0}, ids...))))))
	row := func(cells ...string) {
		line := fmt.Sprintf("%*s  %*s  %s", position, cells[0], id, cells[1], cells[2])
		_, _ = out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	row("position", "id", "piece")
	for i, id := range ids {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row(strconv.Itoa(i), strconv.Itoa(int(id)), show.Piece(t.Piece(id), show.PieceColumns))
	}
	_, _ = show.Fprintf(out, "\n%d tokens, %d characters, %d bytes\n", len(ids), utf8.RuneCountInString(text),
		len(text))
	return out.Flush()
}

// writeTokens writes the ids, their pieces as in the vocabulary ("" for an id without a token) and a text, if
// there is one, as [show.WriteJSON] does. It writes each as it is made, because a long text has millions.
func writeTokens(ctx context.Context, w io.Writer, t *tokenizer.Tokenizer, ids []int32, text *string) error {
	out := bufio.NewWriter(show.NewJSONWriter(w))
	quoted := func(text string) string {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(text)
		return strings.TrimSuffix(b.String(), "\n")
	}
	list := func(key string, value func(id int32) string) error {
		_, _ = show.Fprintf(out, "  %q: [", key)
		for i, id := range ids {
			if i%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if i > 0 {
				_ = out.WriteByte(',')
			}
			_, _ = out.WriteString("\n    " + value(id))
		}
		if len(ids) > 0 {
			_, _ = out.WriteString("\n  ")
		}
		return out.WriteByte(']')
	}
	_, _ = out.WriteString("{\n")
	if err := list("ids", func(id int32) string { return strconv.Itoa(int(id)) }); err != nil {
		return err
	}
	_, _ = out.WriteString(",\n")
	if err := list("pieces", func(id int32) string { return quoted(t.Piece(id)) }); err != nil {
		return err
	}
	if text != nil {
		_, _ = out.WriteString(",\n  \"text\": " + quoted(*text))
	}
	_, _ = out.WriteString("\n}\n")
	return out.Flush()
}

// writeText decodes the ids in input. Special tokens are part of the text.
func (f *tokenizeFlags) writeText(
	ctx context.Context, s *streams, t *tokenizer.Tokenizer, input string,
) error {
	ids, err := parseIDs(input)
	if err != nil {
		return err
	}
	var unknown []string
	total := 0
	for _, id := range ids {
		piece := t.Piece(id)
		if total += len(piece); total > maxDecoded {
			return fmt.Errorf("the ids stand for more than %s of text; tokenize decodes at most %[1]s: "+
				"cut them into parts", show.Bytes(int64(maxDecoded)))
		}
		if len(unknown) < 6 && piece == "" {
			unknown = append(unknown, strconv.Itoa(int(id)))
		}
	}
	if n := len(unknown); n > 0 {
		_, _ = show.Fprintf(s.notes(), "warning: these ids have no token, and so no text: %s%s\n",
			strings.Join(unknown[:min(n, 5)], ", "), ellipsis(n > 5))
	}
	text := t.Decode(ids, false)
	if f.json {
		return writeTokens(ctx, s.out, t, ids, &text)
	}
	_, err = io.WriteString(s.text(), text+"\n")
	return err
}

// parseIDs reads numbers separated by spaces and commas, also a list in brackets.
func parseIDs(input string) ([]int32, error) {
	var ids []int32
	for word := range strings.FieldsFuncSeq(input,
		func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) }) {
		id, err := strconv.ParseInt(word, 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%.40q is not a token id", word)
		}
		if len(ids) == maxTokens {
			return nil, fmt.Errorf("there are more than %s ids; tokenize decodes at most %[1]s: cut them "+
				"into parts", show.Thousands(int64(maxTokens)))
		}
		ids = append(ids, int32(id))
	}
	if len(ids) == 0 {
		return nil, errors.New("there are no ids to decode")
	}
	return ids, nil
}
