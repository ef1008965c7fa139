package lineedit

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// key is what a person pressed: a control character as it is, the name of a key, or "" for text.
type key string

// event is a key, text that was typed, or a paste.
type event struct {
	key    key
	text   string
	pasted bool
}

// Bracketed paste: the terminal marks what is pasted, once it has been told to.
const (
	pasteOn    = "\x1b[?2004h"
	pasteOff   = "\x1b[?2004l"
	pasteStart = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// sequences are the names of keys that terminals send as several characters, without the ESC before them.
var sequences = map[string]key{
	"[A": "up", "OA": "up", "[B": "down", "OB": "down", "[C": "right", "OC": "right", "[D": "left", "OD": "left",
	"[H": "home", "OH": "home", "[1~": "home", "[7~": "home", "[F": "end", "OF": "end", "[4~": "end", "[8~": "end", "[3~": "delete",
	"b": "word left", "[1;3D": "word left", "[1;5D": "word left", "[5D": "word left", "Od": "word left",
	"f": "word right", "[1;3C": "word right", "[1;5C": "word right", "[5C": "word right", "Oc": "word right",
	"d": "erase word right", "[3;3~": "erase word right", "[3;5~": "erase word right", "\x7f": "erase word left", "\x08": "erase word left",
	"\r": "newline", "\n": "newline",
}

// sequence is a whole one after ESC: CSI, SS3, or a character that was typed with Alt. unfinished is the
// beginning of one.
var (
	sequence   = regexp.MustCompile(`^(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O])`)
	unfinished = regexp.MustCompile(`^(?:|O|\[[0-?]*[ -/]*)$`)
)

// decoder cuts what a terminal sends into events. Everything may come in pieces.
type decoder struct {
	raw     []byte // not looked at yet
	pasting bool
	paste   []byte // at most MaxMessage bytes and one more
}

func (d *decoder) feed(p []byte) { d.raw = append(d.raw, p...) }

// next returns the next event, or false if more must come first.
func (d *decoder) next() (event, bool) {
	if d.pasting {
		return d.nextPaste()
	}
	if len(d.raw) == 0 {
		return event{}, false
	}
	switch b := d.raw[0]; {
	case b == 0x1b:
		return d.nextSequence()
	case b < 0x20 && b != '\t' || b == 0x7f:
		d.raw = d.raw[1:]
		return event{key: key([]byte{b})}, true
	}
	n := bytes.IndexFunc(d.raw, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f })
	if n < 0 {
		n = len(d.raw) - incomplete(d.raw)
	}
	if n == 0 {
		return event{}, false
	}
	text := strings.ToValidUTF8(string(d.raw[:n]), "\uFFFD")
	d.raw = d.raw[n:]
	return event{text: text}, true
}

func (d *decoder) nextSequence() (event, bool) {
	rest := d.raw[1:]
	if bytes.HasPrefix(d.raw, []byte(pasteStart)) {
		d.raw, d.pasting = d.raw[len(pasteStart):], true
		return d.nextPaste()
	}
	if found := sequence.Find(rest); found != nil {
		d.raw = rest[len(found):]
		name, ok := sequences[string(found)]
		if !ok {
			name = "unknown"
		}
		return event{key: name}, true
	}
	if unfinished.Match(rest) && len(rest) < 32 {
		return event{}, false
	}
	d.raw = rest
	return event{key: "unknown"}, true
}

func (d *decoder) nextPaste() (event, bool) {
	text, rest, ended := bytes.Cut(d.raw, []byte(pasteEnd))
	if !ended {
		keep := 0 // the beginning of the end, perhaps
		for n := min(len(pasteEnd)-1, len(text)); n > 0 && keep == 0; n-- {
			if bytes.HasSuffix(text, []byte(pasteEnd[:n])) {
				keep = n
			}
		}
		text, rest = text[:len(text)-keep], text[len(text)-keep:]
	}
	d.paste = append(d.paste, text[:min(len(text), MaxMessage+1-len(d.paste))]...)
	d.raw = bytes.Clone(rest)
	if !ended {
		return event{}, false
	}
	pasted := strings.ToValidUTF8(string(d.paste), "\uFFFD")
	d.paste, d.pasting = nil, false
	// terminals send Enter for a line's end
	pasted = strings.ReplaceAll(strings.ReplaceAll(pasted, "\r\n", "\n"), "\r", "\n")
	return event{text: pasted, pasted: true}, true
}

// incomplete is how many bytes at the end of p begin a character that is not whole yet.
func incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if utf8.RuneStart(p[len(p)-n]) {
			if utf8.FullRune(p[len(p)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}
