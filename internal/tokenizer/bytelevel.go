package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Byte-level BPE writes each byte as one printable letter, so that a vocabulary of bytes can live in a JSON
// file: the printable bytes of Latin-1 stand for themselves, the other 68 are U+0100 onwards in ascending
// order (space is "Ġ", newline "Ċ").
var (
	byteLetter   [256]rune
	letterByte   = map[rune]byte{}
	isByteLetter [0x100 + 68]bool
)

func init() {
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		printable := '!' <= r && r <= '~' || '¡' <= r && r <= '¬' || '®' <= r && r <= 'ÿ'
		if !printable {
			r = next
			next++
		}
		byteLetter[b] = r
		letterByte[r] = byte(b)
		isByteLetter[r] = true
	}
}

// byteLetters spells the bytes of s in the alphabet of byte-level BPE.
func byteLetters(s string) string {
	var out strings.Builder
	out.Grow(2 * len(s))
	for i := 0; i < len(s); i++ {
		out.WriteRune(byteLetter[s[i]])
	}
	return out.String()
}

// letterBytes reverses byteLetters; ok is false if a character is not one of the 256.
func letterBytes(piece string) (text string, ok bool) {
	out := make([]byte, 0, len(piece))
	for _, r := range piece {
		b, known := letterByte[r]
		if !known {
			return "", false
		}
		out = append(out, b)
	}
	return string(out), true
}

// spellsBytes reports whether letterBytes can read a piece, in less time.
func spellsBytes(piece string) bool {
	for _, r := range piece {
		if r >= rune(len(isByteLetter)) || !isByteLetter[r] {
			return false
		}
	}
	return true
}

// ValidUTF8 replaces what is not UTF-8 by U+FFFD, one for each maximal part of a broken character, as
// Python's bytes.decode(errors="replace") and Rust's from_utf8_lossy do (Unicode 15, section 3.9,
// "Substitution of Maximal Subparts"). strings.ToValidUTF8 would write one for a whole run of broken bytes.
func ValidUTF8(s string) string {
	valid, _ := validUTF8(s, func(int) error { return nil })
	return valid
}

// validUTF8 is ValidUTF8 with a tick that is told how many bytes are done and may end the work.
func validUTF8(s string, tick func(n int) error) (string, error) {
	if utf8.ValidString(s) {
		return s, nil
	}
	var out strings.Builder
	out.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			size = brokenPrefix(s[i:])
			out.WriteRune(utf8.RuneError)
		} else {
			out.WriteString(s[i : i+size])
		}
		i += size
		if err := tick(size); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// brokenPrefix returns the length of the maximal subpart at the start of s, which is not a valid character:
// the longest prefix that a valid character could have, at least one byte.
func brokenPrefix(s string) int {
	n := 1
	for n < len(s) && n < utf8.UTFMax && !utf8.FullRuneInString(s[:n]) {
		// s[:n] could still become a character; it can with s[n] if s[:n+1] is a longer beginning or a whole
		// one.
		if r, size := utf8.DecodeRuneInString(s[:n+1]); utf8.FullRuneInString(s[:n+1]) &&
			r == utf8.RuneError && size == 1 {
			break
		}
		n++
	}
	return n
}
