package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"phi3/internal/nexttoken"
	"phi3/internal/picture"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
	"phi3/internal/usage"
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
		Long: `Show how the prompt is split into tokens, which token the model would say next (the
argmax of the logits), and the most probable candidates.

--layers shows what the model would say if it ended after the embeddings, or after each
decoder layer. --attention shows which tokens the last token looks at. --svg draws the
path from the prompt to the next token as a picture.

` + inputHelp("prompt", newlineDropped),
		Example: `  phi3 next-token --prompt "The capital of Germany is"
  phi3 next-token -p "The capital of Germany is" --top 5 --token Paris
  phi3 next-token -p "The capital of Germany is" --hidden-states --json
  phi3 next-token -p "The capital of Germany is" --layers --attention 3
  phi3 next-token -p "The capital of Germany is" --layers --svg path.svg`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	flags := cmd.Flags()
	f.prompt.register(flags)
	f.model.register(flags)
	flags.IntVar(&f.top, "top", 10, "how many of the most probable tokens to show")
	flags.StringArrayVar(&f.tokens, "token", nil,
		"also show the rank and probability of this `text`'s token (repeatable)")
	flags.BoolVar(&f.hidden, "hidden-states", false,
		"show the last hidden state: its shape, and the first and last numbers of every row")
	f.inside.register(flags)
	flags.BoolVar(&f.json, "json", false, "print everything as one JSON object, at full precision")
	return cmd
}

func (f *nextTokenFlags) run(cmd *cobra.Command, s *streams) error {
	if f.top < 1 {
		return usage.Errorf("--top is %d, not 1 or more", f.top)
	}
	if err := f.inside.parse(); err != nil {
		return err
	}
	if f.inside.svg != "" {
		if err := picture.CheckFile(f.inside.svg); err != nil {
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
	r, err := nexttoken.New(cmd.Context(), m, tok, ids, nexttoken.Options{
		Top: f.top, Tokens: named, Hidden: f.hidden,
		Layers: f.inside.lens(), Layer: f.inside.layer, Head: f.inside.head,
	})
	if err != nil {
		return explain(err, m)
	}
	r.Model, r.Prompt = t.checkpoint.Name, t.text
	if f.inside.svg != "" {
		svg := r.Picture(t.checkpoint.Title, f.inside.every)
		if err := picture.WriteFile(f.inside.svg, []byte(svg)); err != nil {
			return err
		}
	}
	switch {
	case !f.json:
		return r.WriteTables(s.out, f.inside.every)
	case f.inside.every > 0:
		r.Layers = nexttoken.Thin(r.Layers, f.inside.every)
	}
	return r.WriteJSON(s.out)
}

// maxHidden is the largest number of values of hidden states that --hidden-states keeps: 1 GB. Tests lower
// it.
var maxHidden = 1 << 28

// namedTokens finds the token that each text of --token means.
func namedTokens(ctx context.Context, s *streams, t *tokenizer.Tokenizer, texts []string) ([]int32, error) {
	var named []int32
	for _, text := range texts {
		if text == "" {
			return nil, usage.Errorf("--token is empty")
		}
		if valid := tokenizer.ValidUTF8(text); valid != text {
			_, _ = show.Fprintf(s.err, "warning: --token is not valid UTF-8; what is not a character is "+
				"read as U+FFFD\n")
			text = valid
		}
		ids, spaced, err := nexttoken.Find(ctx, t, text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("encode --token %q: %w", text, err)
		case len(ids) != 1:
			var pieces []string
			for _, id := range ids {
				pieces = append(pieces, show.Piece(t.Piece(id), show.PieceColumns))
			}
			return nil, usage.Errorf("--token %q is %d tokens (%s); name one of them", text, len(ids),
				strings.Join(pieces, " "))
		case spaced:
			_, _ = show.Fprintf(s.notes(),
				"note: --token %q is one token only with a blank before it, and that one is shown\n",
				text)
		}
		named = append(named, ids[0])
	}
	return named, nil
}
