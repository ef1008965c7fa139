package openai

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/tokenizer"
)

// The log probabilities of a token come with the text that it begins in, and not at all if a stop text takes
// its text away.
func TestTokensComeWithTheirText(t *testing.T) {
	s := newParser(t)
	eos, _ := s.Codec.Tokenizer.ID("<|end|>")
	for _, test := range []struct {
		text   string
		stops  []string
		end    engine.Finish
		events []string // "text|tokens" of each
	}{
		{"is Berlin.", nil, engine.FinishLength, []string{" is| is", " Berlin| Berlin", ".|."}},
		{"is Berlin.", nil, engine.FinishStop, []string{" is| is", " Berlin| Berlin", ".|.", "|"}},
		// in a token, at its end, over two tokens
		{"is Berlin.", []string{"rl"}, engine.FinishLength, []string{" is| is", " Be| Berlin"}},
		{"is Berlin.", []string{"Berlin"}, engine.FinishLength, []string{" is| is", " | Berlin"}},
		{"is Berlin.", []string{" Berlin"}, engine.FinishLength, []string{" is| is", "|"}},
		{"is Berlin.", []string{"s B"}, engine.FinishLength, []string{" i| is", "|"}},
		// held back, and then shown after all
		{"is Berlin.", []string{"lin?"}, engine.FinishLength, []string{" is| is", " Ber| Berlin", "lin.|."}},
		{
			"is Berlin.",
			[]string{" is B?", " Berlin!"},
			engine.FinishLength,
			[]string{"|", " is| is", " Berlin.| Berlin."},
		},
		{"is Berlin.", []string{".!"}, engine.FinishStop, []string{" is| is", " Berlin| Berlin", "|", ".|."}},
		// parts of a character
		{"é", nil, engine.FinishLength, []string{" | ", "|", `é|bytes:\xc3bytes:\xa9`}},
		{"é", []string{"é"}, engine.FinishLength, []string{" | ", "|", "|"}},
	} {
		ids, err := s.Codec.Tokenizer.Encode(t.Context(), test.text, tokenizer.EncodeOptions{NoBOS: true})
		require.NoError(t, err)
		if test.end == engine.FinishStop {
			ids = append(ids, eos)
		}
		prompt := []int32{303, 288}
		o := output{codec: s.Codec, logProbs: true, answer: s.Codec.Answer(prompt, test.stops)}
		var got []string
		for i, id := range ids {
			token := engine.Token{ID: id}
			if i == len(ids)-1 {
				token.Finish = test.end
			}
			var e event
			o.push(&e, &token)
			tokens := ""
			for _, t := range e.tokens {
				tokens += t.text
			}
			got = append(got, e.text+"|"+tokens)
			if e.finish != "" {
				break
			}
		}
		require.Equal(t, test.events, got, fmt.Sprint(test.text, test.stops))
	}
}
