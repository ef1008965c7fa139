package openai

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"phi3/internal/engine"
	"phi3/internal/text"
)

// tokenLogProb is a token with its log probability and the most probable tokens at its place.
type tokenLogProb struct {
	named
	none   bool // the first token of a prompt has no log probability
	top    []named
	offset int // of its first character in the text
}

// named is a token with its log probability, as both endpoints name it.
type named struct {
	text    string // "bytes:\xe6\x97" for a part of a character
	bytes   []byte
	logProb float64
}

func newNamed(c *text.Codec, id int32, logProb float64) named {
	text, bytes := c.Token(id)
	// JSON has no infinity. OpenAI writes -9999 for a token that is very unlikely.
	return named{text, bytes, max(logProb, -9999)}
}

func newTokenLogProb(
	c *text.Codec, id int32, logProb float64, top []engine.LogProb, offset int,
) tokenLogProb {
	t := tokenLogProb{named: newNamed(c, id, logProb), offset: offset}
	for _, p := range top {
		t.top = append(t.top, newNamed(c, p.ID, p.LogProb))
	}
	return t
}

// promptLogProbs are the tokens of a prompt. scores[i] has the token i+1 first, and then the most probable
// ones at its place. A BOS that the tokenizer added stands for no characters.
func promptLogProbs(c *text.Codec, p *prompt, scores [][]engine.LogProb) []tokenLogProb {
	all := make([]tokenLogProb, 0, len(p.ids))
	stream := c.Tokenizer.NewStream(nil, false)
	rest, offset := p.text, 0
	for i, id := range p.ids {
		var t tokenLogProb
		if i == 0 {
			t = newTokenLogProb(c, id, 0, nil, 0)
			t.none = true
		} else {
			s := scores[i-1]
			t = newTokenLogProb(c, id, s[0].LogProb, s[1:], 0)
		}
		if i > 0 || !c.Tokenizer.IsSpecial(id) || strings.HasPrefix(p.text, t.text) {
			dropped, length := locate(rest, stream.Push(id))
			t.offset = offset + utf8.RuneCountInString(rest[:dropped])
			offset = t.offset + utf8.RuneCountInString(rest[dropped:dropped+length])
			rest = rest[dropped+length:]
		}
		all = append(all, t)
	}
	return all
}

// locate finds the text of a token at the beginning of the rest of its prompt: dropped bytes of white space
// that no token stands for, and then length bytes. The tokenizer may have added a space before a word, and
// dropped white space such as the newline after <|user|>.
func locate(rest, piece string) (dropped, length int) {
	word := strings.TrimPrefix(piece, " ")
	after := strings.TrimLeftFunc(rest, unicode.IsSpace)
	switch {
	case strings.HasPrefix(rest, piece):
		return 0, len(piece)
	case strings.HasPrefix(rest, word):
		return 0, len(word)
	case strings.HasPrefix(after, word):
		return len(rest) - len(after), len(word)
	}
	for range utf8.RuneCountInString(piece) { // the tokenizer has changed the characters
		_, size := utf8.DecodeRuneInString(rest[length:])
		length += size
	}
	return 0, length
}

// chatLogProbs is the logprobs of a chat's choice.
type chatLogProbs struct {
	Content []chatToken `json:"content"`
	Refusal any         `json:"refusal"`
}

type chatToken struct {
	chatTop
	Top []chatTop `json:"top_logprobs"`
}

type chatTop struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"` // a []byte would be written in base64
}

func newChatLogProbs(tokens []tokenLogProb) *chatLogProbs {
	l := &chatLogProbs{Content: []chatToken{}}
	for _, t := range tokens {
		c := chatToken{newChatTop(t.named), []chatTop{}}
		for _, top := range t.top {
			c.Top = append(c.Top, newChatTop(top))
		}
		l.Content = append(l.Content, c)
	}
	return l
}

func newChatTop(n named) chatTop {
	return chatTop{n.text, n.logProb, numbers(n.bytes)}
}

// numbers is bytes as a list of numbers in JSON.
func numbers(bytes []byte) []int {
	all := make([]int, len(bytes))
	for i, b := range bytes {
		all[i] = int(b)
	}
	return all
}

// completionLogProbs is the logprobs of a completion's choice. The lists have an entry for each token; null
// stands for what the first token of a prompt does not have.
type completionLogProbs struct {
	TextOffset    []int                `json:"text_offset"`
	TokenLogProbs []*float64           `json:"token_logprobs"`
	Tokens        []string             `json:"tokens"`
	TopLogProbs   []map[string]float64 `json:"top_logprobs"`
}

func newCompletionLogProbs(tokens []tokenLogProb) *completionLogProbs {
	l := &completionLogProbs{[]int{}, []*float64{}, []string{}, []map[string]float64{}}
	for _, t := range tokens {
		l.TextOffset = append(l.TextOffset, t.offset)
		l.Tokens = append(l.Tokens, t.text)
		if t.none {
			l.TokenLogProbs = append(l.TokenLogProbs, nil)
			l.TopLogProbs = append(l.TopLogProbs, nil)
			continue
		}
		l.TokenLogProbs = append(l.TokenLogProbs, &t.logProb)
		// The token itself is there too, so that there may be one more than were asked for.
		top := map[string]float64{t.text: t.logProb}
		for _, n := range t.top {
			if _, twice := top[n.text]; !twice { // "A" and the byte <0x41>; the more probable comes first
				top[n.text] = n.logProb
			}
		}
		l.TopLogProbs = append(l.TopLogProbs, top)
	}
	return l
}
