package lineedit

import (
	"bytes"
	"regexp"
	"strings"

	"phi3/internal/show"
)

// key is a pressed key: a control character, the name of a key, or "" for text.
type key string

// event is a key, typed text, or a paste.
type event struct {
	key    key
	text   string
	pasted bool
}

// Bracketed paste: after pasteOn, the terminal sends pasteStart and pasteEnd around what is pasted.
const (
	pasteOn    = "\x1b[?2004h"
	pasteOff   = "\x1b[?2004l"
	pasteStart = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// sequences names the keys that a terminal sends as several characters. The first character, ESC, is left
// out.
var sequences = map[string]key{
	"[A": "up", "OA": "up", "[B": "down", "OB": "down",
	"[C": "right", "OC": "right", "[D": "left", "OD": "left",
	"[H": "home", "OH": "home", "[1~": "home", "[7~": "home",
	"[F": "end", "OF": "end", "[4~": "end", "[8~": "end",
	"[3~": "delete",
	"b":   "word left", "[1;3D": "word left", "[1;5D": "word left", "[5D": "word left", "Od": "word left",
	"f": "word right", "[1;3C": "word right", "[1;5C": "word right", "[5C": "word right", "Oc": "word right",
	"d": "erase word right", "[3;3~": "erase word right", "[3;5~": "erase word right",
	"\x7f": "erase word left", "\x08": "erase word left",
	"\r": "newline", "\n": "newline",
}

// sequence matches a complete sequence after ESC: CSI, SS3, or a character typed with Alt. unfinished matches
// the beginning of one.
var (
	sequence   = regexp.MustCompile(`^(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O])`)
	unfinished = regexp.MustCompile(`^(?:|O|\[[0-?]*[ -/]*)$`)
)

// decoder turns what a terminal sends into events. A character, a sequence or a paste may arrive in pieces.
type decoder struct {
	raw     []byte // not decoded yet
	pasting bool
	paste   []byte // at most MaxMessage + 1 bytes
}

func (d *decoder) feed(p []byte) { d.raw = append(d.raw, p...) }

// next returns the next event, or false if it is not complete yet.
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
		n = len(d.raw) - show.Incomplete(d.raw)
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
		keep := 0 // bytes at the end that may be the beginning of pasteEnd
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
	// terminals send \r at the end of a pasted line
	pasted = strings.ReplaceAll(strings.ReplaceAll(pasted, "\r\n", "\n"), "\r", "\n")
	return event{text: pasted, pasted: true}, true
}
