package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// functions are the global names of a template.
var functions = map[string]Value{
	"range":           &function{"range", rangeFunction},
	"dict":            &function{"dict", dictFunction},
	"namespace":       &function{"namespace", namespaceFunction},
	"cycler":          &function{"cycler", cyclerFunction},
	"joiner":          &function{"joiner", joinerFunction},
	"lipsum":          &function{"lipsum", lipsumFunction},
	"raise_exception": &function{"raise_exception", raiseFunction},
	"strftime_now":    &function{"strftime_now", strftimeFunction},
}

func rangeFunction(r *run, a *given) (Value, error) {
	if len(a.named) > 0 || len(a.pos) == 0 || len(a.pos) > 3 {
		return nil, errors.New("range wants one to three whole numbers")
	}
	var n [3]int
	for i, v := range a.pos {
		var err error
		if n[i], err = wantInt(v); err != nil {
			return nil, err
		}
	}
	g := &Range{n[0], n[1], 1}
	switch len(a.pos) {
	case 1:
		g = &Range{0, n[0], 1}
	case 3:
		g.step = n[2]
	}
	if g.step == 0 {
		return nil, errors.New("the step of a range is 0")
	}
	const far = 1 << 60
	if g.start < -far || g.start > far || g.stop < -far || g.stop > far || g.step < -far || g.step > far ||
		g.length() > maxRange {
		return nil, limitf("a range has more than %d numbers", maxRange)
	}
	return g, nil
}

func dictFunction(r *run, a *given) (Value, error) {
	if len(a.pos) > 1 {
		return nil, errors.New("dict wants one value and named ones")
	}
	if err := undefinedIn(a.pos...); err != nil {
		return nil, err
	}
	d := NewDict()
	if len(a.pos) == 1 {
		if from, ok := a.pos[0].(*Dict); ok {
			for _, e := range from.entries {
				if err := r.set(d, e.key, e.value); err != nil {
					return nil, err
				}
			}
		} else if err := r.pairs(d, a.pos[0]); err != nil {
			return nil, err
		}
	}
	for _, n := range a.named {
		if err := r.set(d, n.name, n.value); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// pairs puts the pairs that v gives into d.
func (r *run) pairs(d *Dict, v Value) error {
	return r.each(v, func(item Value) error {
		pair, err := r.collect(item)
		if err != nil {
			return err
		}
		if len(pair) != 2 {
			return fmt.Errorf("a dict is made of pairs, not of %d values", len(pair))
		}
		return r.set(d, pair[0], pair[1])
	})
}

func namespaceFunction(r *run, a *given) (Value, error) {
	d, err := dictFunction(r, a)
	if err != nil {
		return nil, err
	}
	return &namespace{d.(*Dict)}, nil
}

// cycler is the value of cycler(a, b, …).
type cycler struct {
	items []Value
	at    int
}

func cyclerFunction(_ *run, a *given) (Value, error) {
	if len(a.pos) == 0 || len(a.named) > 0 {
		return nil, errors.New("cycler wants values")
	}
	return &cycler{items: a.pos}, nil
}

func (c *cycler) attr(name string) (Value, bool) {
	switch name {
	case "items":
		return &Tuple{Items: c.items}, true
	case "pos":
		return c.at, true
	case "current":
		return c.items[c.at], true
	case "next":
		return &function{name, func(_ *run, a *given) (Value, error) {
			_, err := a.bind("")
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v, err
		}}, true
	case "reset":
		return &function{name, func(_ *run, a *given) (Value, error) {
			_, err := a.bind("")
			c.at = 0
			return nil, err
		}}, true
	}
	return nil, false
}

// joiner is the value of joiner(sep).
type joiner struct {
	sep  Value
	used bool
}

func joinerFunction(_ *run, a *given) (Value, error) {
	p, err := a.bind("sep?")
	if err != nil {
		return nil, err
	}
	return &joiner{sep: or(p[0], ", ")}, nil
}

func (j *joiner) call(_ *run, a *given) (Value, error) {
	_, err := a.bind("")
	if !j.used {
		j.used = true
		return "", err
	}
	return j.sep, err
}

func lipsumFunction(*run, *given) (Value, error) {
	return nil, errors.New("lipsum is not supported: it makes a text by chance")
}

func raiseFunction(r *run, a *given) (Value, error) {
	p, err := a.bind("message")
	if err != nil {
		return nil, err
	}
	s, err := r.str(p[0])
	if err != nil {
		return nil, err
	}
	return nil, &Raised{s}
}

func strftimeFunction(r *run, a *given) (Value, error) {
	p, err := a.bind("format")
	if err != nil {
		return nil, err
	}
	format, err := wantText(p[0])
	if err != nil {
		return nil, err
	}
	if err := r.reserveTimes(len(format), 32); err != nil {
		return nil, err
	}
	return strftime(r.options.Now(), format)
}

// withE and withO are the directives that glibc knows behind %E and %O, which ask for other calendars and
// digits. Its own locale has none: they change nothing.
const (
	withE = "%CPRTXYZcnprstuxyz"
	withO = "%BCGHIMPRSTUVWZbdeghjklmnprstuwyz"
)

// strftime is C's, in its own locale, with glibc's flags. What is no directive stays as it is.
func strftime(t time.Time, format string) (string, error) {
	out := make([]byte, 0, 2*len(format))
	for format != "" {
		if format[0] != '%' {
			out, format = append(out, format[0]), format[1:]
			continue
		}
		i := 1
		var pad, letters byte
		for ; i < len(format) && strings.IndexByte("-_0^#", format[i]) >= 0; i++ {
			if c := format[i]; c == '^' || c == '#' {
				letters = c
			} else {
				pad = c
			}
		}
		known := withE + withO + "ADFafx"
		switch {
		case i == len(format):
		case format[i] >= '1' && format[i] <= '9':
			return "", errors.New("strftime_now knows no widths")
		case format[i] == 'E':
			i, known = i+1, withE
		case format[i] == 'O':
			i, known = i+1, withO
		}
		if i == len(format) || strings.IndexByte(known, format[i]) < 0 || format[i] == 'f' && i > 1 {
			i = min(i+1, len(format))
			for _, c := range []byte(format[:i]) {
				if letters == '^' && c >= 'a' && c <= 'z' {
					c -= 'a' - 'A'
				}
				out = append(out, c)
			}
		} else {
			out = append(out, timePart(t, format[i], pad, letters)...)
			i++
		}
		format = format[i:]
	}
	return string(out), nil
}

// timePart is what %c stands for, one of the directives of strftime. flag is "-", "_" or "0" for the padding
// of a number, letters is "^" or "#" for capitals; 0 stands for none.
func timePart(t time.Time, c, flag, letters byte) string {
	number := func(n, width int, pad byte) string {
		switch flag {
		case '-':
			return fmt.Sprint(n)
		case '_':
			pad = ' '
		case '0':
			pad = '0'
		}
		if pad == ' ' {
			return fmt.Sprintf("%*d", width, n)
		}
		return fmt.Sprintf("%0*d", width, n)
	}
	hour12 := (t.Hour()+11)%12 + 1
	isoYear, isoWeek := t.ISOWeek()
	weekday := int(t.Weekday())
	switch c {
	case 'Y':
		return number(t.Year(), 1, '0')
	case 'C':
		return number(t.Year()/100, 2, '0')
	case 'y':
		return number(t.Year()%100, 2, '0')
	case 'G':
		return number(isoYear, 1, '0')
	case 'g':
		return number(isoYear%100, 2, '0')
	case 'm':
		return number(int(t.Month()), 2, '0')
	case 'd':
		return number(t.Day(), 2, '0')
	case 'e':
		return number(t.Day(), 2, ' ')
	case 'j':
		return number(t.YearDay(), 3, '0')
	case 'H':
		return number(t.Hour(), 2, '0')
	case 'k':
		return number(t.Hour(), 2, ' ')
	case 'I':
		return number(hour12, 2, '0')
	case 'l':
		return number(hour12, 2, ' ')
	case 'M':
		return number(t.Minute(), 2, '0')
	case 'S':
		return number(t.Second(), 2, '0')
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 's':
		return fmt.Sprint(t.Unix())
	case 'u':
		return number((weekday+6)%7+1, 1, '0')
	case 'w':
		return number(weekday, 1, '0')
	case 'U':
		return number((t.YearDay()+6-weekday)/7, 2, '0')
	case 'W':
		return number((t.YearDay()+6-(weekday+6)%7)/7, 2, '0')
	case 'V':
		return number(isoWeek, 2, '0')
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case '%':
		return "%"
	case 'z', 'Z': // of a datetime without a zone
		return ""
	}
	layout := map[byte]string{
		'B': "January", 'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'p': "PM", 'P': "PM",
		'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'D': "01/02/06", 'F': "2006-01-02",
		'T': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM",
	}[c]
	s := t.Format(layout)
	switch {
	case c == 'P' || c == 'p' && letters == '#':
		return strings.ToLower(s)
	case letters == '^', letters == '#' && strings.IndexByte("ABabh", c) >= 0:
		return strings.ToUpper(s)
	}
	return s
}
