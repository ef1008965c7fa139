package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/inspect"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

type nextTokenFlags struct {
	model  modelFlags
	prompt promptFlags
	top    int
	tokens []string
	hidden bool
	inside insideFlags
	json   bool
}

func newNextToken(s *streams) *cobra.Command {
	var f nextTokenFlags
	cmd := &cobra.Command{
		Use:   "next-token",
		Short: "Show what the model would say next, and how sure it is",
		Long: `Show how the prompt is cut into tokens, which token the model would say next (the
argmax of the logits), and the most probable candidates.

--layers looks inside: for the embeddings and after each decoder layer, what the model
would say if it ended there. --attention shows which tokens the last one looks at.
--svg draws the whole path as a picture.

` + inputHelp("prompt", newlineDropped),
		Example: `  phi3 next-token --prompt "The capital of Germany is"
  phi3 next-token -p "The capital of Germany is" --top 5 --token Paris
  phi3 next-token -p "The capital of Germany is" --hidden-states --json
  phi3 next-token -p "The capital of Germany is" --layers --attention 3
  phi3 next-token -p "The capital of Germany is" --layers --svg path.svg`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	flags := cmd.Flags()
	f.prompt.register(flags)
	f.model.register(flags)
	flags.IntVar(&f.top, "top", 10, "how many of the most probable tokens to show")
	flags.StringArrayVar(&f.tokens, "token", nil,
		"also show the rank and probability of this `text`'s token (repeatable)")
	flags.BoolVar(&f.hidden, "hidden-states", false,
		"show the last hidden state: shape, and both ends of every row")
	f.inside.register(flags)
	flags.BoolVar(&f.json, "json", false, "print everything as one JSON object, at full precision")
	return cmd
}

// inspection is the answer of --json.
type inspection struct {
	Model  string `json:"model"`
	title  string
	Prompt string      `json:"prompt"`
	Input  []token     `json:"input"`
	Argmax candidate   `json:"argmax"`
	Top    []candidate `json:"top"`
	Tokens []candidate `json:"tokens,omitempty"`        // those named with --token
	Hidden [][]float32 `json:"hidden_states,omitempty"` // [tokens, hidden] after the final norm
	Shape  []int       `json:"hidden_shape,omitempty"`  // [1, tokens, hidden]
	insideView
	Logits  []float32 `json:"logits"` // [vocab] of the last position
	Vocab   int       `json:"vocab_size"`
	Context int       `json:"context"`
}

func (f *nextTokenFlags) run(cmd *cobra.Command, s *streams) error {
	if f.top < 1 {
		return usagef("--top is %d, not 1 or more", f.top)
	}
	if err := f.inside.parse(); err != nil {
		return err
	}
	if f.inside.svg != "" {
		if _, err := checkPicture(f.inside.svg); err != nil {
			return err
		}
	}
	var named []int32
	name := func(t *tokenizer.Tokenizer) (err error) {
		named, err = namedTokens(cmd.Context(), s, t, f.tokens)
		return err
	}
	if len(f.tokens) == 0 {
		name = nil
	}
	t, err := openTask(cmd.Context(), s, &f.model, &f.prompt, name)
	if err != nil {
		return err
	}
	defer t.close()
	m, tok, ids := t.model, t.tokenizer, t.ids
	if err := f.inside.check(&m.Config); err != nil {
		return err
	}

	if n := len(ids) * m.Config.HiddenSize; f.hidden && n > maxHidden {
		return fmt.Errorf("the hidden states of %s tokens are %s; --hidden-states keeps up to %s: shorten "+
			"the prompt",
			show.Thousands(int64(len(ids))), show.Bytes(4*int64(n)), show.Bytes(4*int64(maxHidden)))
	}
	text := inspect.NewText(m, ids)
	defer text.Close()
	view, err := text.Look(cmd.Context(), f.inside.look(f.hidden))
	if err != nil {
		return explain(err, m)
	}
	answer := inspection{
		Model: t.checkpoint.Name, title: t.checkpoint.Title, Prompt: t.text,
		Vocab: m.Config.VocabSize, Context: m.Context,
	}
	answer.Logits = view.Logits
	for _, id := range ids {
		answer.Input = append(answer.Input, describe(tok, id))
	}
	ranking := rank(tok, answer.Logits)
	answer.Top = ranking.first(f.top)
	answer.Argmax = answer.Top[0]
	for _, id := range named {
		answer.Tokens = append(answer.Tokens, ranking.of(id))
	}
	if f.hidden {
		answer.Hidden = slices.Collect(slices.Chunk(view.Hidden, m.Config.HiddenSize))
		answer.Shape = []int{1, len(ids), m.Config.HiddenSize}
	}
	answer.Attention = f.inside.attended(view.Attention)
	if f.inside.lens() {
		if answer.Layers, err = lookThroughLens(cmd.Context(), text, tok, answer.Argmax.ID); err != nil {
			return explain(err, m)
		}
	}
	if f.inside.svg != "" {
		if err := f.inside.draw(&answer); err != nil {
			return err
		}
	}
	if f.json {
		if f.inside.every > 0 {
			answer.Layers = f.inside.thinned(answer.Layers)
		}
		return answer.writeJSON(s.out)
	}
	answer.Layers = f.inside.thinned(answer.Layers)
	return answer.write(s.out)
}

// maxHidden is how many numbers of hidden states are kept: 1 GB of them, but in tests.
var maxHidden = 1 << 28

// namedTokens finds the id of each text: a text that encodes to one token, or else a piece of the vocabulary
// as it is.
func namedTokens(ctx context.Context, s *streams, t *tokenizer.Tokenizer, texts []string) ([]int32, error) {
	var named []int32
	for _, text := range texts {
		if text == "" {
			return nil, usagef("--token is empty")
		}
		if valid := tokenizer.ValidUTF8(text); valid != text {
			_, _ = show.Fprintf(s.err, "warning: --token is not valid UTF-8; what is not a character is "+
				"read as U+FFFD\n")
			text = valid
		}
		ids, err := t.Encode(ctx, text, tokenizer.EncodeOptions{NoBOS: true})
		if err != nil {
			return nil, fmt.Errorf("encode --token %q: %w", text, err)
		}
		if len(ids) == 1 {
			named = append(named, ids[0])
			continue
		}
		id, ok := t.ID(text)
		// where words carry the blank before them, a word in the middle of a text is another token than one
		// at its beginning
		if !ok {
			spaced, err := t.Encode(ctx, " "+text, tokenizer.EncodeOptions{NoBOS: true})
			if err != nil {
				return nil, fmt.Errorf("encode --token %q: %w", text, err)
			}
			if ok = len(spaced) == 1; ok {
				id = spaced[0]
				_, _ = show.Fprintf(s.notes(),
					"note: --token %q is %d tokens; with a blank before it, it is one, and that is shown\n",
					text, len(ids))
			}
		}
		if !ok {
			var pieces []string
			for _, id := range ids {
				pieces = append(pieces, shownPiece(t.Piece(id)))
			}
			return nil, usagef("--token %q is %d tokens (%s); name one of them", text, len(ids),
				strings.Join(pieces, " "))
		}
		named = append(named, id)
	}
	return named, nil
}

// writeJSON writes the hidden states, which may be a gigabyte of text, a row at a time.
func (a *inspection) writeJSON(w io.Writer) error {
	hidden := a.Hidden
	a.Hidden = nil
	if hidden == nil {
		return writeJSON(w, a)
	}
	var rest bytes.Buffer
	if err := writeJSON(&rest, a); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	_, _ = out.WriteString("{\n  \"hidden_states\": [") // the error comes out of Flush
	for i, row := range hidden {
		if i > 0 {
			_, _ = out.WriteString(",")
		}
		line, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("the hidden state of token %d: %w", i, err)
		}
		_, _ = show.Fprintf(out, "\n    %s", line)
	}
	_, _ = show.Fprintf(out, "\n  ],%s", bytes.TrimPrefix(rest.Bytes(), []byte("{")))
	return out.Flush()
}

// A table of a long prompt has its ends only.
const (
	longPrompt = 100 // tokens
	promptEnd  = 40  // tokens of a longer one at each end
)

// eachShown calls show for the positions of n that a table has, and skip for what is left out between them.
func eachShown(n int, show func(position int), skip func(tokens int)) {
	for i := 0; i < n; i++ {
		if n > longPrompt && i == promptEnd {
			skip(n - 2*promptEnd)
			i = n - promptEnd
		}
		show(i)
	}
}

// write prints the tables for people.
func (a *inspection) write(w io.Writer) error {
	var b strings.Builder
	show.Fprintf(&b, "input: %s tokens\n\n", show.Thousands(int64(len(a.Input))))
	rows := [][]string{{"position", "id", "piece"}}
	eachShown(len(a.Input), func(i int) {
		rows = append(rows, []string{fmt.Sprint(i), fmt.Sprint(a.Input[i].ID), shownPiece(a.Input[i].Piece)})
	}, func(n int) { rows = append(rows, []string{"…", fmt.Sprintf("%s more", show.Thousands(int64(n)))}) })
	b.WriteString(show.Table(rows))
	if a.Hidden != nil {
		show.Fprintf(&b, "\nlast hidden state [1, %d, %d]\n", a.Shape[1], a.Shape[2])
		eachShown(len(a.Hidden), func(i int) { b.WriteString(ends(a.Hidden[i]) + "\n") }, func(n int) {
			show.Fprintf(&b, "… %s more\n", show.Thousands(int64(n)))
		})
	}
	a.writeInside(&b, a.Input, a.Argmax)
	show.Fprintf(&b, "\nnext token: %d %s\n\n", a.Argmax.ID, shownPiece(a.Argmax.Piece))
	rows = [][]string{{"rank", "id", "piece", "logit", "probability", "cumulative"}}
	row := func(c candidate) {
		rows = append(rows, []string{
			fmt.Sprint(c.Rank), fmt.Sprint(c.ID), shownPiece(c.Piece), fmt.Sprintf("%.4f",
				c.Logit), percent(c.Probability), percent(c.Cumulative),
		})
	}
	for _, c := range slices.Concat(a.Top, a.Tokens) {
		row(c)
	}
	var table strings.Builder
	table.WriteString(show.Table(rows))
	lines := slices.Collect(strings.Lines(table.String()))
	b.WriteString(strings.Join(lines[:1+len(a.Top)], ""))
	if len(a.Tokens) > 0 {
		b.WriteString("\nnamed tokens\n" + strings.Join(lines[1+len(a.Top):], ""))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ends shows the first and the last three values of a row, as PyTorch prints a long tensor.
func ends(row []float32) string {
	part := func(v []float32) string {
		s := make([]string, len(v))
		for i, x := range v {
			s[i] = fmt.Sprintf("%7.4f", x)
		}
		return strings.Join(s, ", ")
	}
	if len(row) <= 6 {
		return "[" + part(row) + "]"
	}
	return "[" + part(row[:3]) + ", ..., " + part(row[len(row)-3:]) + "]"
}
