package tokenizer

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"unicode"
)

// ErrRewritten says that a chat template rewrites messages, so phi3 cannot tell which part of the rendered
// text comes from a message.
var ErrRewritten = errors.New("the chat template changes messages or looks into them, so the words of a " +
	"message cannot be told from its own")

// ChatParts renders messages as one part, or with literal as [LiteralParts] does.
func ChatParts(messages []Message, literal bool, render func([]Message) (string, error)) ([]Part, error) {
	if literal {
		return LiteralParts(messages, render)
	}
	text, err := render(messages)
	return []Part{{Text: text}}, err
}

// JoinParts returns the text of all parts.
func JoinParts(parts []Part) string {
	var text strings.Builder
	for _, p := range parts {
		text.WriteString(p.Text)
	}
	return text.String()
}

// AfterParts returns the parts without the first n bytes of their text.
func AfterParts(parts []Part, n int) []Part {
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

// LiteralParts renders messages and separates their contents, which are literal, from the template's own
// text, which is not. The parts together are render(messages).
//
// It marks each content with random words, and renders twice: once with the contents and once with others.
// The text outside the marks must be the same both times, so it comes from the template alone.
func LiteralParts(messages []Message, render func([]Message) (string, error)) ([]Part, error) {
	plain, err := render(messages)
	if err != nil {
		return nil, err
	}
	open, shut, other := rand.Text(), rand.Text(), rand.Text()
	marked, neutral := slices.Clone(messages), slices.Clone(messages)
	for i, m := range messages {
		if strings.TrimSpace(m.Content) == "" {
			continue // there is nothing that could be a token, and templates ask whether a content is empty
		}
		// White space around stays outside, since templates trim it.
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
		if want := others[i]; p.Literal != want.Literal || p.Literal && want.Text != other || !p.Literal &&
			want.Text != p.Text {
			return nil, ErrRewritten
		}
	}
	if JoinParts(parts) != plain {
		return nil, ErrRewritten
	}
	return parts, nil
}

// cutMarked cuts text at its marks; false if they do not come in pairs.
func cutMarked(text, open, shut string) (parts []Part, ok bool) {
	for {
		before, rest, marked := strings.Cut(text, open)
		if strings.Contains(before, shut) {
			return nil, false
		}
		parts = append(parts, Part{Text: before})
		if !marked {
			return parts, true
		}
		content, after, closed := strings.Cut(rest, shut)
		if !closed || strings.Contains(content, open) {
			return nil, false
		}
		parts = append(parts, Part{Text: content, Literal: true})
		text = after
	}
}
