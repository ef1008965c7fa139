package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"phi3/internal/classify"
	"phi3/internal/input"
	"phi3/internal/show"
	"phi3/internal/text"
	"phi3/internal/usage"
)

type classifyFlags struct {
	model     modelFlags
	input     inputFlags
	jsonl     string
	noSpecial bool
	json      bool
}

func newClassify(s *streams) *cobra.Command {
	f := classifyFlags{model: modelFlags{labels: true}}
	cmd := &cobra.Command{
		Use:   "classify",
		Short: "Label texts with a classification checkpoint",
		Long: `Label a text, or each of its tokens, with a checkpoint that was trained for that task:
a Phi3ForSequenceClassification or a Phi3ForTokenClassification. phi3 computes
the labels and probabilities as the Hugging Face pipelines do.

With --jsonl, each line of the file is a JSON string or an object with the key "text".
phi3 prints one line for each: the JSON object with its result.

` + inputHelp("text", newlineDropped),
		Example: `  phi3 classify --model ./phi3-sentiment --text "What a lovely day."
  phi3 classify --model ./phi3-sentiment --jsonl reviews.jsonl > labels.jsonl
  echo "Angela lives in Berlin" | phi3 classify --model ./phi3-names --json`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.input.register(flags, "text", "")
	f.model.register(flags)
	flags.StringVar(&f.jsonl, "jsonl", "",
		"`file` with one text on each line, a JSON string or an object with the key \"text\"; - is stdin")
	flags.BoolVar(&f.noSpecial, "no-special", false,
		"read special tokens such as <|end|> in texts as ordinary characters")
	flags.BoolVar(&f.json, "json", false, "print one JSON object, at full precision")
	return cmd
}

func (f *classifyFlags) run(ctx context.Context, s *streams) error {
	if f.model.name == "" {
		return usage.Errorf("classify needs --model: the built-in demonstration has no labels")
	}
	batch := f.jsonl != ""
	var given string
	var lines io.Reader
	var err error
	switch {
	case batch && (f.input.flags.Changed("text") || f.input.from.given):
		return usage.Errorf("--jsonl gives the texts, and so does another flag")
	case f.jsonl == "-":
		lines = input.Until(ctx, func() (io.ReadCloser, error) { return io.NopCloser(s.in), nil })
	case batch:
		_, err = os.Stat(f.jsonl) // before the model is loaded
		lines = input.Until(ctx, func() (io.ReadCloser, error) { return os.Open(f.jsonl) })
	default:
		if given, err = f.input.read(ctx, s); err == nil && given == "" {
			err = errors.New("the text is empty")
		}
	}
	if err != nil {
		return err
	}
	checkpoint, err := f.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	m, err := f.model.load(ctx, s, checkpoint)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	tok, err := loadTokenizer(checkpoint)
	if err != nil {
		return err
	}
	c := &classify.Classifier{
		Model: m.Model, Codec: &text.Codec{Tokenizer: tok, Literal: f.noSpecial},
	}
	if batch {
		return f.labelLines(ctx, s, c, lines)
	}
	answer, err := c.Label(ctx, given)
	switch {
	case err != nil:
		return tooLong(err, "text", c.Model)
	case f.json:
		return show.WriteJSON(s.out, answer)
	}
	return answer.WriteTable(s.out)
}

// labelLines answers each line of --jsonl as soon as it has been read. The first line that is wrong ends it.
func (f *classifyFlags) labelLines(
	ctx context.Context, s *streams, c *classify.Classifier, r io.Reader,
) error {
	name := f.jsonl
	if name == "-" {
		name = "stdin"
	}
	texts, err := input.Decode(r)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	warned := false
	for line, err := range classify.Lines(texts) {
		place := name
		if line.Number > 0 {
			place = fmt.Sprintf("%s, line %d", name, line.Number)
		}
		if line.Mended && !warned {
			warned = true
			_, _ = show.Fprintf(s.err, "warning: %s: is not valid UTF-8; what is not a character "+
				"is read as U+FFFD, here and below\n", place)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		answer, err := c.Label(ctx, line.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", place, tooLong(err, "text", c.Model))
		}
		if err := show.WriteJSONLine(s.out, answer); err != nil {
			return err
		}
	}
	return nil
}
