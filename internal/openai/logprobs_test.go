package openai

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// lm-eval asks for the log probabilities of a prompt with one token more, and drops the last entry. So there
// must be one for that token, even if it ends the text.
func TestEveryTokenOfACompletionHasALogProbability(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 2, Queue: 8})
	const answer = "The capital of Germany is"
	for prompt, end := range map[string]string{
		answer: "length",
		`<|user|>\nWhat is the capital of Germany?<|end|>\n<|assistant|>\n` + answer + " Berlin.": "stop",
	} {
		got := s.whole(t, Completion, `{"prompt": ["`+prompt+`"], "temperature": 0, "max_tokens": 1,
			"logprobs": 1, "seed": 1234, "echo": true}`)
		require.Equal(t, end, *got.Choices[0].FinishReason)
		var logs completionLogProbs
		require.NoError(t, json.Unmarshal(got.Choices[0].LogProbs, &logs))
		require.Len(t, logs.TokenLogProbs, got.Usage.Prompt+1)
		require.Len(t, logs.TopLogProbs, got.Usage.Prompt+1)
		require.Len(t, logs.Tokens, got.Usage.Prompt+1)
		require.Len(t, logs.TextOffset, got.Usage.Prompt+1)
		require.Equal(t, end == "stop", logs.Tokens[got.Usage.Prompt] == "<|end|>")
	}
}

// The offsets of a prompt's tokens say where their texts are, also where the tokenizer has added a space or
// dropped a newline.
func TestOffsetsOfAPrompt(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 2, Queue: 8})
	for _, prompt := range []string{
		"The capital of Germany is", " two  spaces ", `\n`, `\u00e9\u65e5 x`, "<s>a",
		`<|user|>\nWhat is 1 + 1?<|end|>\n<|assistant|>\n1`,
		`</s>a</s> b</s>\u00e9</s></s>c<|end|>\n\n d`,
	} {
		got := s.whole(t, Completion, `{"prompt": "`+prompt+`", "echo": true, "max_tokens": 1, "logprobs": 0,
			"temperature": 0}`)
		var logs completionLogProbs
		require.NoError(t, json.Unmarshal(got.Choices[0].LogProbs, &logs))
		require.True(t, slices.IsSorted(logs.TextOffset), "%q: %v", prompt, logs.TextOffset)
		text := []rune(got.Choices[0].Text)
		for i, token := range logs.Tokens[:got.Usage.Prompt] {
			at := string(text[logs.TextOffset[i]:])
			if !strings.HasPrefix(token, "bytes:") && !strings.HasPrefix(at, token) {
				require.True(t, strings.HasPrefix(at, strings.TrimPrefix(token, " ")), "%q: %q at %d", prompt,
					token, logs.TextOffset[i])
			}
		}
	}
}

// Two tokens may have the same text: a letter, and the byte that it is. The map has the token itself, and of
// others the more probable one.
func TestTokensWithTheSameText(t *testing.T) {
	l := newCompletionLogProbs([]tokenLogProb{{
		named: named{text: "A", logProb: -1},
		top: []named{
			{text: "B", logProb: -0.5},
			{text: "A", logProb: -1},
			{text: "B", logProb: -2},
			{text: "A", logProb: -3},
		},
	}})
	require.Equal(t, []map[string]float64{{"A": -1, "B": -0.5}}, l.TopLogProbs)
}
