package cli

import (
	"fmt"
	"math"
	"strconv"

	"phi3/internal/sampling"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// pieceColumns is the most of a piece in a table.
const pieceColumns = 40

// token is a token as --json prints it.
type token struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece"` // as in the vocabulary
	Text  string `json:"text"`  // as it reads
}

func describe(t *tokenizer.Tokenizer, id int32) token {
	return token{ID: id, Piece: t.Piece(id), Text: t.Decode([]int32{id}, false)}
}

// candidate is one possible next token.
type candidate struct {
	Rank int `json:"rank"` // 1 is the most probable
	token
	Logit       float32 `json:"logit"`
	Probability float64 `json:"probability"`
	Cumulative  float64 `json:"cumulative"` // of this and all ranks before it
}

// ranking is the order of all tokens by falling probability, equal ones by id. Probabilities are a softmax in
// float64.
type ranking struct {
	logits []float32 // [vocab]
	top    float64   // the highest of them
	total  float64   // Σ e^(logit - top)
	tokens *tokenizer.Tokenizer
}

func rank(t *tokenizer.Tokenizer, logits []float32) ranking {
	r := ranking{logits: logits, top: float64(logits[sampling.Greedy(logits)]), tokens: t}
	for _, l := range logits {
		r.total += math.Exp(float64(l) - r.top)
	}
	return r
}

func (r *ranking) probability(id int32) float64 {
	return math.Exp(float64(r.logits[id])-r.top) / r.total
}

// first are the n most probable tokens.
func (r *ranking) first(n int) []candidate {
	var first []candidate
	cumulative := 0.0
	for i, id := range sampling.NewLogProbs(r.logits).Top(n) {
		p := r.probability(id)
		cumulative += p
		first = append(first, candidate{i + 1, describe(r.tokens, id), r.logits[id], p, min(cumulative, 1)})
	}
	return first
}

// of is where one token stands.
func (r *ranking) of(id int32) candidate {
	logit, before, cumulative := r.logits[id], 0, r.probability(id)
	for other, l := range r.logits {
		if l > logit || l == logit && int32(other) < id {
			before++
			cumulative += r.probability(int32(other))
		}
	}
	return candidate{before + 1, describe(r.tokens, id), logit, r.probability(id), min(cumulative, 1)}
}

// shownPiece is a piece in a table: every character can be seen, white space too.
func shownPiece(piece string) string { return show.Piece(piece, pieceColumns) }

// visible writes a name or a sentence so that every character can be seen and a row stays a row.
func visible(piece string) string {
	if piece == "" {
		return "(none)"
	}
	return show.Line(piece)
}

// percent keeps two digits of small probabilities: 0.0061%, 6.1e-05%.
func percent(p float64) string {
	if p >= 0.0001 {
		return fmt.Sprintf("%.2f%%", p*100)
	}
	if p >= 0.000001 {
		return strconv.FormatFloat(p*100, 'f', 1-int(math.Floor(math.Log10(p*100))), 64) + "%"
	}
	return fmt.Sprintf("%.1e%%", p*100)
}
