package classify

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// Classifier labels texts.
type Classifier struct {
	Model *model.Model // with a classification head
	Codec *text.Codec
}

// Answer is the result for a text. Its JSON is the output of phi3 classify --json.
type Answer struct {
	Text   string  `json:"text"`
	IDs    []int32 `json:"ids"`
	Label  string  `json:"label,omitempty"`  // the best one, of a model that labels texts
	Scores []Score `json:"scores,omitempty"` // all labels, the best first
	Tokens []Token `json:"tokens,omitempty"` // of a model that labels tokens

	regression bool // the scores are not probabilities
}

// Score is a label with its probability, or with its value for a regression.
type Score struct {
	Label string  `json:"label"`
	Score float64 `json:"score"`
}

// Token is a token of the text with its best label.
type Token struct {
	tokenizer.Token
	Score
}

// Label labels a text, or each of its tokens.
func (c *Classifier) Label(ctx context.Context, given string) (*Answer, error) {
	ids, err := c.Codec.Encode(ctx, c.Codec.Plain(given), 2*c.Model.Context)
	if err != nil {
		return nil, fmt.Errorf("encode the text: %w", err)
	}
	rows, err := Logits(ctx, c.Model, ids)
	if err != nil {
		return nil, err
	}
	config := &c.Model.Config
	answer := &Answer{Text: given, IDs: ids, regression: config.ProblemType == "regression"}
	for i, row := range rows {
		ranked := rank(config.Labels, Scores(config, row))
		if config.Head == model.SequenceHead {
			answer.Label, answer.Scores = ranked[0].Label, ranked
		} else {
			answer.Tokens = append(answer.Tokens, Token{c.Codec.Tokenizer.Token(ids[i]), ranked[0]})
		}
	}
	return answer, nil
}

// rank sorts labels by falling score, and equal ones as config.json has them.
func rank(labels []string, scores []float64) []Score {
	ranked := make([]Score, len(labels))
	for i := range labels {
		ranked[i] = Score{labels[i], scores[i]}
	}
	slices.SortStableFunc(ranked, func(a, b Score) int { return cmp.Compare(b.Score, a.Score) })
	return ranked
}

// WriteTable writes the labels, or the tokens with theirs, as a table.
func (a *Answer) WriteTable(w io.Writer) error {
	var rows [][]string
	switch {
	case a.Tokens != nil:
		rows = append(rows, []string{"position", "id", "piece", "label", "probability"})
	case a.regression:
		rows = append(rows, []string{"label", "value"})
	default:
		rows = append(rows, []string{"label", "probability"})
	}
	for i, t := range a.Tokens {
		rows = append(rows, []string{
			fmt.Sprint(i), fmt.Sprint(t.ID), show.Piece(t.Piece, show.PieceColumns), show.Named(t.Label),
			show.Percent(t.Score.Score),
		})
	}
	for _, s := range a.Scores {
		value := show.Percent(s.Score)
		if a.regression {
			value = fmt.Sprintf("%.4f", s.Score)
		}
		rows = append(rows, []string{show.Named(s.Label), value})
	}
	_, err := io.WriteString(w, show.Table(rows))
	return err
}
