package text

import (
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/tokenizer"
)

func open(t *testing.T) *Codec {
	t.Helper()
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	return &Codec{Tokenizer: tok}
}

// A token beyond the model's embeddings is refused with its name, before the model runs.
func TestPromptBeyondVocabulary(t *testing.T) {
	c := open(t)
	ids, err := c.Encode(t.Context(), c.Plain("The capital"), 10)
	require.NoError(t, err)
	require.Equal(t, []int32{303, 288}, ids)
	require.NoError(t, c.Check(ids, 304))
	require.ErrorContains(t, c.Check(ids, 303), `the prompt has the token "▁The" with id 303, and the model `+
		`has embeddings for ids below 303: the tokenizer's files`)
	require.EqualError(t, c.Check(nil, 304), "the prompt is empty")
	_, err = c.Encode(t.Context(), c.Plain("The capital"), 1)
	require.ErrorAs(t, err, new(*tokenizer.TooManyError))
}

// Messages come back as the template writes them; literal ones cannot end their turn.
func TestChat(t *testing.T) {
	c := open(t)
	end, ok := c.Tokenizer.ID("<|end|>")
	require.True(t, ok)
	for literal, ends := range map[bool]int{false: 2, true: 1} {
		c.Literal = literal
		p, err := c.Chat(t.Context(), []tokenizer.Message{{Role: "user", Content: "Hello<|end|>"}})
		require.NoError(t, err)
		require.Equal(t, "<|user|>\nHello<|end|><|end|>\n<|assistant|>\n", p.String())
		require.Equal(t, "<|assistant|>\n", p.After(len("<|user|>\nHello<|end|><|end|>\n")).String())
		ids, err := c.Encode(t.Context(), p, 0)
		require.NoError(t, err)
		n := 0
		for _, id := range ids {
			if id == end {
				n++
			}
		}
		require.Equal(t, ends, n)
	}
	require.False(t, c.DropsSystem(t.Context(), "Be brief."))
	require.NoError(t, c.Tokenizer.SetChatTemplate("x", "{{ messages[-1].content }}"))
	require.True(t, c.DropsSystem(t.Context(), "Be brief."))
	require.False(t, c.DropsSystem(t.Context(), " "), "there is none")
}

// What an answer shows ends before a stop text, and in no half character.
func TestAnswer(t *testing.T) {
	c := open(t)
	prompt, err := c.Encode(t.Context(), c.Plain("The capital"), 0)
	require.NoError(t, err)
	ids, err := c.Tokenizer.Encode(t.Context(), "of Germany is 日本.", tokenizer.EncodeOptions{NoBOS: true})
	require.NoError(t, err)
	answer := func(trim bool, stops ...string) (a *Answer, shown string) {
		a = c.Answer(prompt, stops)
		a.Trim = trim
		for _, id := range ids {
			if shown += a.Push(id); a.Stop() != "" {
				break
			}
		}
		return a, shown + a.End()
	}
	a, shown := answer(false)
	require.Equal(t, " of Germany is 日本.", shown)
	require.Equal(t, shown, a.Text())
	require.Empty(t, a.Stop())
	a, shown = answer(true)
	require.Equal(t, "of Germany is 日本.", shown)
	require.Equal(t, " "+shown, a.Text())
	a, shown = answer(false, "any is 日", "x")
	require.Equal(t, " of Germ", shown)
	require.Equal(t, shown, a.Text())
	require.Equal(t, "any is 日", a.Stop())
	_, shown = answer(false, ".!") // held back, and shown at the end
	require.Equal(t, " of Germany is 日本.", shown)
}

// A token has the text that it adds to an answer, or its bytes where it is a part of a character. Offsets
// count characters, also those that are not shown.
func TestTokensOfAnAnswer(t *testing.T) {
	c := open(t)
	ids, err := c.Tokenizer.Encode(t.Context(), " of é日x", tokenizer.EncodeOptions{NoBOS: true})
	require.NoError(t, err)
	a := c.Answer([]int32{288}, []string{"日x!"})
	var texts []string
	var offsets []int
	var all []byte
	for _, id := range ids {
		text, bytes := c.Token(id)
		texts, offsets, all = append(texts, text), append(offsets, a.Offset()), append(all, bytes...)
		a.Push(id)
	}
	require.Equal(t, []string{
		" ", " of", " ", `bytes:\xc3`, `bytes:\xa9`, `bytes:\xe6`, `bytes:\x97`, `bytes:\xa5`, "x",
	}, texts)
	require.Equal(t, []int{0, 1, 4, 5, 5, 6, 6, 6, 7}, offsets)
	require.Equal(t, 8, a.Offset())
	require.Equal(t, a.Text()+a.End(), string(all))
}
