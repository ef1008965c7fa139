package text

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"unicode"

	"phi3/internal/tokenizer"
)

// ErrRewritten says that a chat template does more than insert the messages, so that the text of a message
// cannot be distinguished from the text of the template.
var ErrRewritten = errors.New("the chat template changes messages or looks into them, so the words of a " +
	"message cannot be told from its own")

// renderer applies a chat template.
type renderer func([]tokenizer.Message) (string, error)

// literalParts renders messages and separates their contents, which are literal, from the text of the
// template, which is not. The parts together are render(messages).
//
// It puts random words around each content and renders twice: with the contents, and with other contents in
// their place. If the text outside the marks is the same both times, it comes from the template alone.
func literalParts(messages []tokenizer.Message, render renderer) ([]tokenizer.Part, error) {
	plain, err := render(messages)
	if err != nil {
		return nil, err
	}
	open, shut, other := rand.Text(), rand.Text(), rand.Text()
	marked, neutral := slices.Clone(messages), slices.Clone(messages)
	for i, m := range messages {
		if strings.TrimSpace(m.Content) == "" {
			continue // it holds no token, and templates ask whether a content is empty
		}
		// The marks go inside the white space around the content, since templates trim it.
		content := strings.TrimLeftFunc(m.Content, unicode.IsSpace)
		before := m.Content[:len(m.Content)-len(content)]
		content = strings.TrimRightFunc(content, unicode.IsSpace)
		after := m.Content[len(before)+len(content):]
		marked[i].Content = before + open + content + shut + after
		neutral[i].Content = before + open + other + shut + after
	}
	first, err := render(marked)
	if err != nil {
		return nil, err
	}
	second, err := render(neutral)
	if err != nil {
		return nil, ErrRewritten
	}
	parts, ok := cutMarked(first, open, shut)
	others, same := cutMarked(second, open, shut)
	if !ok || !same || len(parts) != len(others) {
		return nil, ErrRewritten
	}
	for i, p := range parts {
		want := p.Text
		if p.Literal {
			want = other
		}
		if others[i] != (tokenizer.Part{Text: want, Literal: p.Literal}) {
			return nil, ErrRewritten
		}
	}
	if join(parts) != plain {
		return nil, ErrRewritten
	}
	return parts, nil
}

// cutMarked cuts a text at its marks. It returns false if they do not come in pairs.
func cutMarked(text, open, shut string) (parts []tokenizer.Part, ok bool) {
	for {
		before, rest, marked := strings.Cut(text, open)
		if strings.Contains(before, shut) {
			return nil, false
		}
		parts = append(parts, tokenizer.Part{Text: before})
		if !marked {
			return parts, true
		}
		content, after, closed := strings.Cut(rest, shut)
		if !closed || strings.Contains(content, open) {
			return nil, false
		}
		parts = append(parts, tokenizer.Part{Text: content, Literal: true})
		text = after
	}
}

// join is the text that the parts make together.
func join(parts []tokenizer.Part) string {
	var text strings.Builder
	for _, p := range parts {
		text.WriteString(p.Text)
	}
	return text.String()
}

// after returns the parts without the first n bytes of their text.
func after(parts []tokenizer.Part, n int) []tokenizer.Part {
	for len(parts) > 0 && n >= len(parts[0].Text) {
		n -= len(parts[0].Text)
		parts = parts[1:]
	}
	if n > 0 {
		parts = slices.Clone(parts)
		parts[0].Text = parts[0].Text[n:]
	}
	return parts
}
