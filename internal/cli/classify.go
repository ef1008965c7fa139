package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/classify"
	"phi3/internal/input"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
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
		Long: `Label a text, or each of its tokens, with a checkpoint that was trained for that:
a Phi3ForSequenceClassification or a Phi3ForTokenClassification. The labels and
probabilities are those of the Hugging Face pipelines.

With --jsonl every line of the file is a JSON string or an object with a "text",
and every line of the answer is the JSON object for it.

` + inputHelp("text", newlineDropped),
		Example: `  phi3 classify --model ./phi3-sentiment --text "What a lovely day."
  phi3 classify --model ./phi3-sentiment --jsonl reviews.jsonl > labels.jsonl
  echo "Angela lives in Berlin" | phi3 classify --model ./phi3-names --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.input.register(flags, "text", "")
	f.model.register(flags)
	flags.StringVar(&f.jsonl, "jsonl", "",
		"`file` of texts, one JSON string or object with \"text\" a line; - reads stdin")
	flags.BoolVar(&f.noSpecial, "no-special", false,
		"read special tokens such as <|end|> in texts as ordinary characters")
	flags.BoolVar(&f.json, "json", false, "print one JSON object, at full precision")
	return cmd
}

// labelled is the answer of --json, and a line of --jsonl's.
type labelled struct {
	Text   string          `json:"text"`
	IDs    []int32         `json:"ids"`
	Label  string          `json:"label,omitempty"`  // the best one, of a model that labels texts
	Scores []score         `json:"scores,omitempty"` // all, the best first
	Tokens []labelledToken `json:"tokens,omitempty"` // of a model that labels tokens

	raw bool // the scores are not probabilities
}

type score struct {
	Label string  `json:"label"`
	Score float64 `json:"score"`
}

type labelledToken struct {
	token
	score
}

// classifier is a loaded model with its tokenizer.
type classifier struct {
	model     *model.Model
	tokenizer *tokenizer.Tokenizer
	noSpecial bool
}

func (f *classifyFlags) run(ctx context.Context, s *streams) error {
	if f.model.name == "" {
		return usagef("classify needs --model: the built-in demonstration has no labels")
	}
	batch := f.jsonl != ""
	var text string
	var lines io.Reader
	var err error
	switch {
	case batch && (f.input.flags.Changed("text") || f.input.flags.Changed("file")):
		return usagef("--jsonl gives the texts, and so does another flag")
	case f.jsonl == "-":
		lines = input.Until(ctx, func() (io.ReadCloser, error) { return io.NopCloser(s.in), nil })
	case batch:
		_, err = os.Stat(f.jsonl) // before the model is loaded
		lines = input.Until(ctx, func() (io.ReadCloser, error) { return os.Open(f.jsonl) })
	default:
		if text, err = f.input.read(ctx, s); err == nil && text == "" {
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
	c := &classifier{m.Model, tok, f.noSpecial}
	if batch {
		return c.labelLines(ctx, s, f.jsonl, lines)
	}
	answer, err := c.label(ctx, text)
	switch {
	case err != nil:
		return err
	case f.json:
		return writeJSON(s.out, answer)
	}
	return answer.write(s.out)
}

// label runs one text.
func (c *classifier) label(ctx context.Context, text string) (*labelled, error) {
	ids, err := c.tokenizer.Encode(ctx, text,
		tokenizer.EncodeOptions{Max: 2 * c.model.Context, SpecialAsText: c.noSpecial})
	if err != nil {
		return nil, tooLong(fmt.Errorf("encode the text: %w", err), "text", c.model)
	}
	rows, err := classify.Logits(ctx, c.model, ids)
	if err != nil {
		return nil, explain(err, c.model)
	}
	config := &c.model.Config
	answer := &labelled{Text: text, IDs: ids, raw: config.ProblemType == "regression"}
	for i, row := range rows {
		ranked := rankLabels(config.Labels, classify.Scores(config, row))
		if config.Head == model.SequenceHead {
			answer.Label, answer.Scores = ranked[0].Label, ranked
		} else {
			answer.Tokens = append(answer.Tokens, labelledToken{describe(c.tokenizer, ids[i]), ranked[0]})
		}
	}
	return answer, nil
}

// rankLabels sorts labels by falling score, equal ones as config.json has them.
func rankLabels(labels []string, scores []float64) []score {
	ranked := make([]score, len(labels))
	for i := range labels {
		ranked[i] = score{labels[i], scores[i]}
	}
	slices.SortStableFunc(ranked, func(a, b score) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
	return ranked
}

// maxLine is the longest line of --jsonl, in bytes.
const maxLine = 16 << 20

// labelLines answers line by line, as soon as each is there. The first that is wrong ends it.
func (c *classifier) labelLines(ctx context.Context, s *streams, name string, r io.Reader) error {
	if name == "-" {
		name = "stdin"
	}
	texts, err := input.Decode(r)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	lines := bufio.NewScanner(texts)
	lines.Buffer(nil, maxLine)
	broken := false
	n := 0
	for lines.Scan() {
		n++
		line := tokenizer.ValidUTF8(lines.Text())
		if line != lines.Text() && !broken {
			broken = true
			_, _ = show.Fprintf(s.err, "warning: %s, line %d: is not valid UTF-8; what is not a character "+
				"is read as U+FFFD, here and below\n", name, n)
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		text, err := parseLine([]byte(line))
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		answer, err := c.label(ctx, text)
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		if err := writeLine(s.out, answer); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s, line %d: is longer than %s, and no more is read", name, n+1,
			show.Bytes(maxLine))
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// parseLine finds the text in a line of JSON.
func parseLine(line []byte) (string, error) {
	var text *string
	if json.Unmarshal(line, &text) == nil && text != nil {
		return *text, nil
	}
	var object struct{ Text *string }
	var wrong *json.UnmarshalTypeError
	err := json.Unmarshal(line, &object)
	if errors.As(err, &wrong) && wrong.Field != "" {
		return "", fmt.Errorf(`"text" is a JSON %s, not a string`, wrong.Value)
	}
	if err != nil || object.Text == nil {
		return "", errors.New(`is neither a JSON string nor an object with a "text"`)
	}
	return *object.Text, nil
}

// write prints the tables for people.
func (a *labelled) write(w io.Writer) error {
	var rows [][]string
	switch {
	case a.Tokens != nil:
		rows = append(rows, []string{"position", "id", "piece", "label", "probability"})
	case a.raw:
		rows = append(rows, []string{"label", "value"})
	default:
		rows = append(rows, []string{"label", "probability"})
	}
	for i, token := range a.Tokens {
		rows = append(rows, []string{
			fmt.Sprint(i), fmt.Sprint(token.ID), shownPiece(token.Piece), visible(token.Label), show.Percent(token.Score),
		})
	}
	for _, s := range a.Scores {
		value := show.Percent(s.Score)
		if a.raw {
			value = fmt.Sprintf("%.4f", s.Score)
		}
		rows = append(rows, []string{visible(s.Label), value})
	}
	var b strings.Builder
	b.WriteString(show.Table(rows))
	_, err := io.WriteString(w, b.String())
	return err
}
