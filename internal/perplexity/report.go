package perplexity

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"phi3/internal/show"
)

// Report is the result of [Measure].
type Report struct {
	Tokens  int `json:"tokens"` // of the text
	Scored  int `json:"scored"` // how many of them count
	Window  int `json:"window"`
	Stride  int `json:"stride"`
	Windows int `json:"windows"`
	// NLL is the mean of -log p(token), in nats. Perplexity is exp(NLL).
	NLL        Estimate    `json:"nll"`
	Perplexity Estimate    `json:"perplexity"`
	Against    *Comparison `json:"against,omitempty"`
}

// Comparison says how far the model's predictions are from the reference's, over the scored tokens.
type Comparison struct {
	Perplexity Estimate `json:"perplexity"` // of the reference
	// KL is the mean Kullback-Leibler divergence from the reference's distribution, in nats.
	KL        Estimate `json:"kl"`
	LargestKL float64  `json:"largest_kl"`
	SameTop   Estimate `json:"same_top"` // the share of tokens with the same most probable token
	// How much the probability of the text's token differs from the reference's: the root of the mean
	// square, and the largest increase or decrease.
	RMSChange     float64 `json:"rms_change"`
	LargestChange float64 `json:"largest_change"`
}

// Estimate is a mean, or a function of one, and its standard error.
type Estimate struct {
	Value float64 `json:"value"`
	Error float64 `json:"error"`
}

// sums add up the scores in the order of the text.
type sums struct {
	n                      int
	nll, reference, kl     moments
	same                   moments // of 0 and 1
	squares                float64 // of the changes of probability
	largestKL, largestMove float64
}

func (s *sums) add(token score) {
	s.n++
	s.nll.add(token.nll)
	s.reference.add(token.reference)
	s.kl.add(token.kl)
	same := 0.0
	if token.same {
		same = 1
	}
	s.same.add(same)
	s.largestKL = max(s.largestKL, token.kl)
	move := math.Exp(-token.nll) - math.Exp(-token.reference)
	s.squares += move * move
	if math.Abs(move) > math.Abs(s.largestMove) {
		s.largestMove = move
	}
}

// report fills in the results.
func (s *sums) report(r *Report, compared bool) {
	r.Scored = s.n
	r.NLL = s.nll.mean(s.n)
	r.Perplexity = r.NLL.exp()
	if compared {
		r.Against = &Comparison{
			Perplexity: s.reference.mean(s.n).exp(),
			KL:         s.kl.mean(s.n), LargestKL: s.largestKL,
			SameTop:   s.same.mean(s.n),
			RMSChange: math.Sqrt(s.squares / float64(s.n)), LargestChange: s.largestMove,
		}
	}
}

// moments are the sum of some numbers and the sum of their squares.
type moments struct{ sum, squares float64 }

func (m *moments) add(x float64) {
	m.sum += x
	m.squares += x * x
}

// mean returns the mean of n numbers and its standard error, 0 for one number.
func (m *moments) mean(n int) Estimate {
	e := Estimate{Value: m.sum / float64(n)}
	if n > 1 {
		e.Error = math.Sqrt(max(0, m.squares/float64(n)-e.Value*e.Value) / float64(n-1))
	}
	return e
}

// exp returns the estimate of exp(e).
func (e Estimate) exp() Estimate {
	v := math.Exp(e.Value)
	return Estimate{Value: v, Error: v * e.Error}
}

// Write writes the report as a table. reference is the name of the reference model.
func (r *Report) Write(w io.Writer, reference string) error {
	count := func(n int) string { return show.Thousands(int64(n)) }
	table := [][]string{
		{"tokens", fmt.Sprintf("%s, %s of them scored", count(r.Tokens), count(r.Scored))},
		{"windows", fmt.Sprintf("%s of up to %s tokens, one every %s", count(r.Windows), count(r.Window),
			count(r.Stride))},
		{"perplexity", r.Perplexity.String()},
	}
	if c := r.Against; c != nil {
		percent := func(p float64) string { return fmt.Sprintf("%.3f%%", 100*p) }
		table = append(table,
			[]string{"perplexity of " + reference, c.Perplexity.String()},
			[]string{"mean KL divergence", c.KL.String()},
			[]string{"largest KL divergence", digits(c.LargestKL)},
			[]string{"same most probable token", percent(c.SameTop.Value) + " ± " + percent(c.SameTop.Error)},
			[]string{"change of the token's probability", percent(c.RMSChange) +
				fmt.Sprintf(" (root mean square), at most %+.3f%%", 100*c.LargestChange)},
		)
	}
	_, err := io.WriteString(w, show.Table(table))
	return err
}

// String writes the estimate with five digits.
func (e Estimate) String() string { return digits(e.Value) + " ± " + digits(e.Error) }

func digits(x float64) string { return strconv.FormatFloat(x, 'g', 5, 64) }
