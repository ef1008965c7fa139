package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// special is a table of casing_special.go.
func special(table string) map[rune]string {
	m := map[rune]string{}
	for _, s := range strings.Fields(table) {
		c, n := utf8.DecodeRuneInString(s)
		m[c] = s[n:]
	}
	return m
}

var (
	specialUpper = special(upperSpecial)
	specialTitle = special(titleSpecial)
	specialFold  = special(foldSpecial)
)

func mapRunes(s string, m map[rune]string, f func(rune) rune) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, c := range s {
		if t, ok := m[c]; ok {
			b.WriteString(t)
		} else {
			b.WriteRune(f(c))
		}
	}
	return b.String()
}

func upper(s string) string { return mapRunes(s, specialUpper, unicode.ToUpper) }

// lower is Python's str.lower: a capital sigma at the end of a word becomes ς.
func lower(s string) string {
	if !strings.ContainsAny(s, "ΣİI") {
		return strings.Map(unicode.ToLower, s)
	}
	runes := []rune(s)
	var b strings.Builder
	for i, c := range runes {
		switch {
		case c == 'İ':
			b.WriteString("i̇")
		case c == 'Σ' && finalSigma(runes, i):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(c))
		}
	}
	return b.String()
}

// finalSigma reports whether the sigma at i ends a word: a letter with case comes before it and none after
// it.
func finalSigma(s []rune, i int) bool {
	before, after := false, false
	for j := i - 1; j >= 0; j-- {
		if !isCaseIgnorable(s[j]) {
			before = isCased(s[j])
			break
		}
	}
	for j := i + 1; j < len(s); j++ {
		if !isCaseIgnorable(s[j]) {
			after = isCased(s[j])
			break
		}
	}
	return before && !after
}

func isCaseIgnorable(c rune) bool {
	return unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) ||
		strings.ContainsRune("'.:^`\u00b7\u2018\u2019\u2024\u2027", c)
}

func isCased(c rune) bool {
	return unicode.In(c, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

func casefold(s string) string {
	return mapRunes(s, specialFold, func(c rune) rune {
		switch {
		case c >= 0x13a0 && c <= 0x13f5: // Cherokee folds to its capitals
			return c
		case c >= 0x13f8 && c <= 0x13fd, c >= 0xab70 && c <= 0xabbf:
			return unicode.ToUpper(c)
		}
		return unicode.ToLower(c)
	})
}

func titleRune(c rune) string {
	if t, ok := specialTitle[c]; ok {
		return t
	}
	return string(unicode.ToTitle(c))
}

// title is Python's str.title: a capital at the beginning of every run of letters.
func title(s string) string {
	var b strings.Builder
	inside := false
	low := []rune(s)
	for i, c := range low {
		switch {
		case !inside:
			b.WriteString(titleRune(c))
		case c == 'Σ' && finalSigma(low, i):
			b.WriteRune('ς')
		case c < utf8.RuneSelf:
			b.WriteRune(unicode.ToLower(c))
		default:
			b.WriteString(lower(string(c)))
		}
		inside = isCased(c)
	}
	return b.String()
}

func capitalize(s string) string {
	if s == "" {
		return ""
	}
	n := runeLength(s)
	c, _ := utf8.DecodeRuneInString(s)
	return titleRune(c) + strings.TrimPrefix(lower("\u00b7"+s[n:]), "\u00b7")
}

func swapcase(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, c := range runes {
		switch {
		case c == 'Σ' && finalSigma(runes, i):
			b.WriteRune('ς')
		case isUpperRune(c):
			b.WriteString(lower(string(c)))
		case isLowerRune(c):
			b.WriteString(upper(string(c)))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func isLowerRune(c rune) bool { return unicode.IsLower(c) || unicode.Is(unicode.Other_Lowercase, c) }

func isUpperRune(c rune) bool { return unicode.IsUpper(c) || unicode.Is(unicode.Other_Uppercase, c) }

func isLower(s string) bool {
	return strings.IndexFunc(s, isLowerRune) >= 0 &&
		strings.IndexFunc(s, func(c rune) bool { return isUpperRune(c) || unicode.IsTitle(c) }) < 0
}

func isUpper(s string) bool {
	return strings.IndexFunc(s, isUpperRune) >= 0 &&
		strings.IndexFunc(s, func(c rune) bool { return isLowerRune(c) || unicode.IsTitle(c) }) < 0
}

func isTitle(s string) bool {
	inside, any := false, false
	for _, c := range s {
		switch {
		case isUpperRune(c) || unicode.IsTitle(c):
			if inside {
				return false
			}
			inside, any = true, true
		case isLowerRune(c):
			if !inside {
				return false
			}
			any = true
		default:
			inside = false
		}
	}
	return any
}

func isAlpha(c rune) bool   { return unicode.IsLetter(c) }
func isDecimal(c rune) bool { return unicode.Is(unicode.Nd, c) }

// isDigit is Python's str.isdigit of a character: also ², ①, …
func isDigit(c rune) bool {
	switch {
	case isDecimal(c), c == '²' || c == '³' || c == '¹', c == 0x2070, c >= 0x2074 &&
		c <= 0x2079, c >= 0x2080 && c <= 0x2089,
		c >= 0x2460 && c <= 0x2468, c >= 0x2474 && c <= 0x247c, c >= 0x2488 && c <= 0x2490, c == 0x24ea,
		c >= 0x24f5 && c <= 0x24fd, c == 0x24ff, c >= 0x2776 && c <= 0x277e, c >= 0x2780 && c <= 0x2788,
		c >= 0x278a && c <= 0x2792, c >= 0x1369 && c <= 0x1371, c == 0x19da, c >= 0x10a40 && c <= 0x10a43,
		c >= 0x10e60 && c <= 0x10e68, c >= 0x11052 && c <= 0x1105a, c >= 0x1f100 && c <= 0x1f10a:
		return true
	}
	return false
}

// hanNumbers are the characters that write numbers in Chinese, from Unicode's Unihan.
const hanNumbers = "" +
	"\u3405\u3483\u382a\u3b4d一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺" +
	"廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰阡陆陌陸零\uf96b\uf973\uf978\uf9b2\uf9d1\uf9d3\uf9fd" +
	"\U00020001\U00020064\U000200e2\U00020121\U0002092a\U00020983\U0002098c\U0002099c" +
	"\U00020aea\U00020afd\U00020b19\U00022390\U00022998\U00023b1b\U0002626d\U0002f890"

// isNumeric is Python's str.isnumeric of a character: also ½, Ⅷ, and numbers written in Chinese.
func isNumeric(c rune) bool {
	return unicode.IsNumber(c) || c >= 0x3400 && strings.ContainsRune(hanNumbers, c)
}

func isAlnum(c rune) bool { return isAlpha(c) || isNumeric(c) }
