package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"phi3/internal/generate"
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

` + inputHelp("prompt"),
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
	flags.StringArrayVar(&f.tokens, "token", nil, "also show the rank and probability of this `text`'s token (repeatable)")
	flags.BoolVar(&f.hidden, "hidden-states", false, "show the last hidden state: shape, and both ends of every row")
	f.inside.register(flags)
	flags.BoolVar(&f.json, "json", false, "print everything as one JSON object, at full precision")
	return cmd
}

// inspection is the answer of --json.
type inspection struct {
	Model  string      `json:"model"`
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

type token struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece"` // as in the vocabulary
	Text  string `json:"text"`  // as it reads
}

// candidate is one possible next token.
type candidate struct {
	Rank int `json:"rank"` // 1 is the most probable
	token
	Logit       float32 `json:"logit"`
	Probability float64 `json:"probability"`
	Cumulative  float64 `json:"cumulative"` // of this and all ranks before it
}

func (f *nextTokenFlags) run(cmd *cobra.Command, s *streams) error {
	defer f.model.close()
	if f.top < 1 {
		return usagef("--top is %d, not 1 or more", f.top)
	}
	if err := f.inside.parse(); err != nil {
		return err
	}
	t, err := openTask(cmd.Context(), s, &f.model, &f.prompt)
	if err != nil {
		return err
	}
	defer t.close()
	m, tok, ids := t.model, t.tokenizer, t.ids
	if err := f.inside.check(&m.Config); err != nil {
		return err
	}
	named, err := namedTokens(cmd.Context(), tok, f.tokens)
	if err != nil {
		return err
	}

	session := generate.NewSession(m, false)
	defer session.Close()
	session.Append(ids...)
	var lens lens
	view, err := session.Inspect(cmd.Context(), f.inside.look(f.hidden, &lens))
	if err != nil {
		return explain(err, m)
	}
	logits := view.Logits
	answer := inspection{Model: t.name, Prompt: t.text, Logits: logits, Vocab: m.Config.VocabSize, Context: m.Context}
	for _, id := range ids {
		answer.Input = append(answer.Input, describe(tok, id))
	}
	ranked := rank(tok, logits)
	for _, id := range named {
		answer.Tokens = append(answer.Tokens, ranked[slices.IndexFunc(ranked, func(c candidate) bool { return c.ID == id })])
	}
	answer.Top = ranked[:min(f.top, len(ranked))]
	for _, shown := range [][]candidate{answer.Top, answer.Tokens} {
		for i := range shown {
			shown[i].token = describe(tok, shown[i].ID)
		}
	}
	answer.Argmax = answer.Top[0]
	answer.insideView = f.inside.view(tok, &lens, answer.Argmax.ID, view.Attention)
	if f.inside.svg != "" {
		if err := f.inside.draw(&answer); err != nil {
			return err
		}
	}
	if f.hidden {
		answer.Hidden = slices.Collect(slices.Chunk(view.Hidden, m.Config.HiddenSize))
		answer.Shape = []int{1, len(ids), m.Config.HiddenSize}
	}
	if f.json {
		return writeJSON(s.out, answer)
	}
	return answer.write(s.out)
}

// namedTokens finds the id of each text: a text that encodes to one token, or else a piece of the vocabulary as it is.
func namedTokens(ctx context.Context, t *tokenizer.Tokenizer, texts []string) ([]int32, error) {
	var named []int32
	for _, text := range texts {
		if text == "" {
			return nil, usagef("--token is empty")
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
		if !ok {
			var pieces []string
			for _, id := range ids {
				pieces = append(pieces, t.Piece(id))
			}
			return nil, usagef("--token %q is %d tokens (%s); name one of them", text, len(ids), strings.Join(pieces, " "))
		}
		named = append(named, id)
	}
	return named, nil
}

func describe(t *tokenizer.Tokenizer, id int32) token {
	return token{ID: id, Piece: t.Piece(id), Text: t.Decode([]int32{id}, false)}
}

// rank sorts all tokens by falling probability, equal ones by id. Probabilities are a softmax in float64.
func rank(t *tokenizer.Tokenizer, logits []float32) []candidate {
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	top := float64(logits[order[0]])
	var total float64
	for _, l := range logits {
		total += math.Exp(float64(l) - top)
	}
	ranked := make([]candidate, len(logits))
	var cumulative float64
	for i, id := range order {
		p := math.Exp(float64(logits[id])-top) / total
		cumulative += p
		ranked[i] = candidate{Rank: i + 1, token: token{ID: id, Piece: t.Piece(id)}, Logit: logits[id], Probability: p, Cumulative: min(cumulative, 1)}
	}
	return ranked
}

// write prints the tables for people.
func (a *inspection) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = show.Fprintf(t, format, args...) } // the error comes out of Flush
	p("input: %d tokens\n\n", len(a.Input))
	p("position\tid\tpiece\n")
	for i, in := range a.Input {
		p("%d\t%d\t%s\n", i, in.ID, visible(in.Piece))
	}
	if a.Hidden != nil {
		p("\nlast hidden state [1, %d, %d]\n", a.Shape[1], a.Shape[2])
		for _, row := range a.Hidden {
			p("%s\n", ends(row))
		}
	}
	a.writeInside(t, a.Input, a.Argmax)
	p("\nnext token: %d %s\n\n", a.Argmax.ID, visible(a.Argmax.Piece))
	p("rank\tid\tpiece\tlogit\tprobability\tcumulative\n")
	row := func(c candidate) {
		p("%d\t%d\t%s\t%.4f\t%s\t%s\n", c.Rank, c.ID, visible(c.Piece), c.Logit, percent(c.Probability), percent(c.Cumulative))
	}
	for _, c := range a.Top {
		row(c)
	}
	if len(a.Tokens) > 0 {
		p("\nnamed tokens\n")
		for _, c := range a.Tokens {
			row(c)
		}
	}
	return t.Flush()
}

// visible writes a piece so that every character can be seen and a row stays a row.
func visible(piece string) string {
	if piece == "" {
		return "(none)" // an id beyond the tokenizer's vocabulary
	}
	return show.Line(piece)
}

// percent keeps three digits of small probabilities.
func percent(p float64) string {
	if p >= 0.0001 {
		return fmt.Sprintf("%.2f%%", p*100)
	}
	return fmt.Sprintf("%.1e%%", p*100)
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
