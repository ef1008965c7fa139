package tokenizer

import (
	"bytes"
	"fmt"
	"strings"

	"phi3/internal/show"
)

// A step changes a text before it is cut into tokens: a normalizer's, or a pre-tokenizer's.
// Prepend puts prefix before a text that is not empty, Replace changes old to new. For Phi-3 a "▁" comes
// first, and " " becomes "▁".
type step struct {
	prefix   string // Prepend
	unless   bool   // not where the text begins with prefix already
	first    bool   // only before the segment that begins the whole text
	old, new string // Replace
}

// normalizerJSON is the "normalizer" entry or one of its steps.
type normalizerJSON struct {
	Type        string      `json:"type"`
	Normalizers entry       `json:"normalizers"`
	Prepend     string      `json:"prepend"`
	Pattern     patternJSON `json:"pattern"`
	Content     string      `json:"content"`
}

// newNormalizers reads null, Prepend, Replace, or a Sequence of these.
func newNormalizers(e entry) ([]step, error) {
	if e.absent() {
		return nil, nil
	}
	var top normalizerJSON
	if err := e.read(&top); err != nil {
		return nil, err
	}
	list := []normalizerJSON{top}
	if top.Type == "Sequence" {
		var err error
		if list, err = readList[normalizerJSON](top.Normalizers, maxSteps); err != nil {
			return nil, fmt.Errorf("normalizers: %w", err)
		}
	}
	var steps []step
	for _, n := range list {
		switch {
		case n.Type == "Prepend" && n.Prepend != "":
			steps = append(steps, step{prefix: n.Prepend})
		case n.Type == "Replace" && n.Pattern.String != nil && *n.Pattern.String != "":
			steps = append(steps, step{old: *n.Pattern.String, new: n.Content})
		default:
			return nil, fmt.Errorf("type %q is not supported: only null, Prepend, Replace of a String, or "+
				"one Sequence of them", show.Brief(n.Type))
		}
	}
	return steps, nil
}

// growth is the factor by which steps can lengthen a text, rounded up at each and no larger than matters: of
// a long text, and of one letter, whose prefixes count.
func growth(steps []step) (long, short int) {
	long, short = 1, 1
	for _, s := range steps {
		if s.prefix != "" {
			short = min(short+len(s.prefix), 1<<20)
			continue
		}
		g := max(1, (len(s.new)+len(s.old)-1)/len(s.old))
		long, short = min(long*g, 1<<20), min(short*g, 1<<20)
	}
	return long, short
}

// changer applies steps to one segment, chunk by chunk.
type changer struct {
	steps []stepState
	first bool // the segment begins the whole text
}

type stepState struct {
	*step
	begun bool   // Prepend: the prefix is dealt with
	held  []byte // what may be the beginning of old or of prefix
	out   []byte
}

func newChanger(steps []step) *changer {
	c := &changer{}
	for i := range steps {
		c.steps = append(c.steps, stepState{step: &steps[i]})
	}
	return c
}

// begin starts another segment.
func (c *changer) begin(first bool) {
	c.first = first
	for i := range c.steps {
		c.steps[i].begun, c.steps[i].held = false, c.steps[i].held[:0]
	}
}

// push appends the changed next chunk of the segment to out; end says that it is the last.
func (c *changer) push(out []byte, chunk string, end bool) []byte {
	if len(c.steps) == 1 {
		return c.steps[0].push(out, []byte(chunk), end, c.first)
	}
	now := []byte(chunk)
	for i := range c.steps {
		s := &c.steps[i]
		s.out = s.push(s.out[:0], now, end, c.first)
		now = s.out
	}
	return append(out, now...)
}

func (s *stepState) push(out, chunk []byte, end, first bool) []byte {
	if s.prefix != "" {
		return s.prepend(out, chunk, end, first)
	}
	if len(s.held) > 0 {
		s.held = append(s.held, chunk...)
		chunk = s.held
	}
	old, done := []byte(s.old), 0
	for {
		at := bytes.Index(chunk[done:], old)
		if at < 0 {
			break
		}
		out = append(append(out, chunk[done:done+at]...), s.new...)
		done += at + len(old)
	}
	keep := 0
	if !end { // no more than may begin an old that the next chunk ends
		keep = min(len(old)-1, len(chunk)-done)
	}
	out = append(out, chunk[done:len(chunk)-keep]...)
	s.held = append(s.held[:0], chunk[len(chunk)-keep:]...)
	return out
}

func (s *stepState) prepend(out, chunk []byte, end, first bool) []byte {
	if !s.begun {
		s.held = append(s.held, chunk...)
		chunk = s.held
		if len(chunk) == 0 || s.unless && !end && len(chunk) < len(s.prefix) {
			return out
		}
		s.begun = true
		if (first || !s.first) && !(s.unless && bytes.HasPrefix(chunk, []byte(s.prefix))) {
			out = append(out, s.prefix...)
		}
	}
	return append(out, chunk...)
}

// change applies steps to a whole segment.
func change(steps []step, text string, first bool) string {
	for _, s := range steps {
		switch {
		case text == "":
		case s.prefix == "":
			text = strings.ReplaceAll(text, s.old, s.new)
		case (first || !s.first) && !(s.unless && strings.HasPrefix(text, s.prefix)):
			text = s.prefix + text
		}
	}
	return text
}
