package jinja

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"
)

// wordwrapFilter is jinja2's wordwrap: Python's textwrap of every line.
func wordwrapFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("width? break_long_words? wrapstring? break_on_hyphens?")
	if err != nil {
		return nil, err
	}
	s, err := wantText(v)
	if err != nil {
		return nil, err
	}
	width, err := wantInt(or(p[0], 79))
	if err != nil {
		return nil, err
	}
	between := "\n"
	if b := or(p[2], nil); b != nil {
		if between, err = wantText(b); err != nil {
			return nil, err
		}
	}
	if err := r.step(4 * letterWork * len(s)); err != nil {
		return nil, err
	}
	w := &writer{r: r}
	for i, line := range splitLines(s, false) {
		if i > 0 {
			if err := w.write(between); err != nil {
				return nil, err
			}
		}
		if width <= 0 {
			return nil, errors.New("wordwrap wants a width of 1 or more")
		}
		parts, err := r.wrapLine(line, width, truth(or(p[1], true)), truth(or(p[3], true)))
		if err != nil {
			return nil, err
		}
		for j, part := range parts {
			if j > 0 {
				part = between + part
			}
			if err := w.write(part); err != nil {
				return nil, err
			}
		}
	}
	return w.b.String(), nil
}

// hyphenated finds the places behind hyphens where a word may be cut: between letters.
var hyphenated = regexp.MustCompile(`[^\d\W]{2,}-|[^\d\W]-`)

// chunks cuts a line into words and blanks.
func chunks(line string, hyphens bool) []string {
	var out []string
	for line != "" {
		rest := strings.TrimLeft(line, "\t\n\v\f\r ")
		if n := len(line) - len(rest); n > 0 {
			out, line = append(out, line[:n]), rest
			continue
		}
		n := strings.IndexAny(line, "\t\n\v\f\r ")
		if n < 0 {
			n = len(line)
		}
		word := line[:n]
		line = line[n:]
		for hyphens {
			at := hyphenated.FindStringIndex(word)
			if at == nil || at[1] == len(word) || !isAlpha(firstRune(word[at[1]:])) {
				break
			}
			out, word = append(out, word[:at[1]]), word[at[1]:]
		}
		out = append(out, word)
	}
	return out
}

// wrapLine is Python's textwrap.wrap without expand_tabs and replace_whitespace.
func (r *run) wrapLine(line string, width int, breakWords, hyphens bool) ([]string, error) {
	var lines []string
	rest := chunks(line, hyphens)
	for len(rest) > 0 {
		if err := r.reserve(itemBytes); err != nil {
			return nil, err
		}
		if err := r.step(3 * len(rest[0])); err != nil {
			return nil, err
		}
		if strings.TrimFunc(rest[0], isSpace) == "" && len(lines) > 0 {
			rest = rest[1:]
		}
		var current []string
		used := 0
		for len(rest) > 0 && used+runeCount(rest[0]) <= width {
			current = append(current, rest[0])
			used += runeCount(rest[0])
			rest = rest[1:]
		}
		if len(rest) > 0 && runeCount(rest[0]) > width {
			if breakWords {
				cut := byteOffset(rest[0], width-used)
				if hyphen := strings.LastIndex(rest[0][:cut], "-"); hyphens && hyphen > 0 &&
					strings.Trim(rest[0][:hyphen], "-") != "" {
					cut = hyphen + 1
				}
				current = append(current, rest[0][:cut])
				rest[0] = rest[0][cut:]
			} else if len(current) == 0 {
				current, rest = append(current, rest[0]), rest[1:]
			}
		}
		if n := len(current); n > 0 && strings.TrimFunc(current[n-1], isSpace) == "" {
			current = current[:n-1]
		}
		if len(current) > 0 {
			lines = append(lines, strings.Join(current, ""))
		}
	}
	return lines, nil
}

func firstRune(s string) rune {
	c, _ := utf8.DecodeRuneInString(s)
	return c
}
