package explore

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/nexttoken"
	"phi3/internal/openai"
)

const berlin = "The capital of Germany is"

// next is the response to a request about the next token.
func (e *Explorer) next(t testing.TB, request map[string]any) *Next {
	t.Helper()
	body, err := json.Marshal(request)
	require.NoError(t, err)
	answer, err := e.Next(t.Context(), body)
	require.NoError(t, err, string(body))
	return answer.(*Next)
}

// The numbers are those of phi3 next-token, bit for bit, with and without rows that are kept.
func TestNext(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	prompt := ids(e.tokenize(t, map[string]any{"text": berlin}).Tokens)
	next := e.next(t, map[string]any{"ids": prompt})
	require.Equal(t, 1, int(e.Engine.Stats().Steps))
	require.Equal(t, next, e.next(t, map[string]any{"ids": prompt}))
	require.Equal(t, 1, int(e.Engine.Stats().Steps), "the second answer takes no step")
	require.Len(t, next.Candidates, 40)
	require.Equal(t, 2560, next.Vocab)

	// Some candidates beyond the first: the penalty changes their order.
	penalized := e.next(t, map[string]any{
		"ids": prompt, "top": 5,
		"sampling": map[string]any{"repetition_penalty": 1e6, "top_k": 5, "temperature": 0.7},
	})
	require.Equal(t, 1, int(e.Engine.Stats().Steps))
	e.Engine.Close() // the model belongs to one at a time

	m, err := loadDemo()
	require.NoError(t, err)
	others := []int32{}
	for _, c := range penalized.Candidates {
		others = append(others, c.ID)
	}
	want, err := nexttoken.New(t.Context(), m, e.Codec.Tokenizer, prompt,
		nexttoken.Options{Top: 40, Tokens: others})
	require.NoError(t, err)
	for i, c := range next.Candidates {
		require.Equal(t, want.Top[i], c.Candidate)
		require.Equal(t, e.token(c.ID), Token{c.Token, c.Bytes, c.Special})
		for _, p := range c.Steps {
			require.Equal(t, c.Probability, p, "all steps are off")
		}
		require.Empty(t, c.Removed)
	}
	require.Equal(t, "▁Berlin", next.Candidates[0].Piece)
	for i, c := range penalized.Candidates {
		if c.Rank <= 5 {
			require.Equal(t, want.Top[i], c.Candidate)
		} else {
			require.Equal(t, want.Tokens[i], c.Candidate)
		}
	}
	require.True(t, slices.IsSortedFunc(penalized.Candidates, func(a, b NextCandidate) int {
		return a.Rank - b.Rank
	}))
}

// The steps remove tokens, and each says which ones.
func TestNextSteps(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	prompt := ids(e.tokenize(t, map[string]any{"text": berlin}).Tokens)
	next := e.next(t, map[string]any{
		"ids": prompt, "top": 200,
		"sampling": map[string]any{"temperature": 3, "top_k": 100, "top_p": 0.9, "min_p": 0.001},
	})
	var names []string
	for i, step := range next.Steps {
		names = append(names, step.Name)
		if i > 0 {
			require.LessOrEqual(t, step.Kept, next.Steps[i-1].Kept)
		}
	}
	require.Equal(t, []string{"model", "penalties", "temperature", "top_k", "top_p", "min_p"}, names)
	require.Equal(t, 2560, next.Steps[2].Kept)
	require.Equal(t, 100, next.Steps[3].Kept)
	removed, sum := map[string]int{}, 0.0
	for _, c := range next.Candidates {
		removed[c.Removed]++
		sum += c.Steps[5]
		require.Equal(t, c.Removed == "", c.Steps[5] > 0)
	}
	require.Equal(t, 100, removed["top_k"])
	require.Equal(t, 100-next.Steps[4].Kept, removed["top_p"])
	require.Equal(t, next.Steps[5].Kept, removed[""])
	require.InDelta(t, 1, sum, 1e-12)

	// The most probable token alone.
	greedy := e.next(t, map[string]any{"ids": prompt, "top": 3, "sampling": map[string]any{"temperature": 0}})
	require.Equal(t, []float64{1, 1, 1, 1}, greedy.Candidates[0].Steps[2:])
	require.Equal(t, "temperature", greedy.Candidates[1].Removed)

	// Penalties of what was generated, without the prompt: "is" is the last of the prompt.
	request := func(generated int) *Next {
		return e.next(t, map[string]any{
			"ids": prompt, "generated": generated, "top": 200,
			"sampling": map[string]any{"presence_penalty": 2},
		})
	}
	require.Equal(t, request(0).Candidates[0].Steps[0], request(0).Candidates[0].Steps[1])
	require.Less(t, request(0).Candidates[0].Steps[0], request(1).Candidates[0].Steps[1])

	// A checkpoint's other settings count too.
	e.Defaults.Sampling.TypicalP = 0.5
	e.Defaults.Sampling.Suppress = []int32{next.Candidates[0].ID}
	own := e.next(t, map[string]any{"ids": prompt})
	require.Equal(t, "typical_p", own.Steps[6].Name)
	require.Equal(t, "penalties", own.Candidates[0].Removed)
}

func TestNextErrors(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	for settings, message := range map[string]string{
		`{"temperature": -1}`:        "sampling.temperature is -1, not 0 or more.",
		`{"temperature": 1e-30}`:     "sampling.temperature is 1e-30, not above 0 (1e-20 or more).",
		`{"top_p": 1.5}`:             "sampling.top_p is 1.5, not in 0 … 1.",
		`{"top_k": -1}`:              "sampling.top_k is -1, not 0 or more.",
		`{"repetition_penalty": 0}`:  "sampling.repetition_penalty is 0, not above 0.",
		`{"frequency_penalty": 2.5}`: "sampling.frequency_penalty is 2.5, not in -2 … 2.",
	} {
		_, err := e.Next(t.Context(), []byte(`{"ids": [1], "sampling": `+settings+`}`))
		var known *openai.Error
		require.ErrorAs(t, err, &known, settings)
		require.Equal(t, 400, known.Status)
		require.Equal(t, message, known.Message)
		require.Contains(t, message, *known.Param+" is ")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.Next(ctx, []byte(`{"ids": [1]}`))
	var known *openai.Error
	require.ErrorAs(t, err, &known)
	require.Equal(t, openai.StatusClosed, known.Status)
	require.Empty(t, e.rows.last)
}

// Requests at once, for the same text and for others, get the same answers as alone.
func TestNextAtOnce(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 4, Queue: 100})
	prompt := ids(e.tokenize(t, map[string]any{"text": berlin}).Tokens)
	text := func(i int) map[string]any { return map[string]any{"ids": prompt[:1+i%len(prompt)], "top": 3} }
	var want []*Next
	for i := range prompt {
		want = append(want, e.next(t, text(i)))
	}
	e.rows = rows{}
	var group sync.WaitGroup
	for i := range 4 * len(prompt) {
		group.Go(func() { require.Equal(t, want[i%len(prompt)], e.next(t, text(i))) })
	}
	group.Wait()
	require.Len(t, e.rows.last, len(prompt))
}

// A draw takes a token of the whole vocabulary, by the probabilities after the last step.
func TestDraw(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	prompt := ids(e.tokenize(t, map[string]any{"text": "The capital of"}).Tokens)
	ask := func(u float64) *Next {
		return e.next(t, map[string]any{
			"ids": prompt, "draw": u, "top": 200,
			"sampling": map[string]any{"temperature": 1.5, "top_k": 100},
		})
	}
	byID := ask(0).Candidates
	byID = slices.DeleteFunc(byID, func(c NextCandidate) bool { return c.Removed != "" })
	slices.SortFunc(byID, func(a, b NextCandidate) int { return int(a.ID - b.ID) })
	require.Len(t, byID, 100)
	var sum float64
	for _, c := range byID {
		p := c.Steps[len(c.Steps)-1]
		drawn := ask(sum + p/2).Drawn
		require.Equal(t, c.ID, drawn.ID)
		require.Equal(t, c.Steps, drawn.Steps)
		sum += p
	}
	require.Equal(t, byID[99].ID, ask(1-0x1p-53).Drawn.ID)
	require.Nil(t, e.next(t, map[string]any{"ids": prompt}).Drawn)
	for _, u := range []float64{-0.1, 1, 1e9} {
		body, err := json.Marshal(map[string]any{"ids": prompt, "draw": u})
		require.NoError(t, err)
		_, err = e.Next(t.Context(), body)
		require.ErrorContains(t, err, "draw is ")
	}
}
