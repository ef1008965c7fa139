package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// withE and withO are the directives that glibc knows behind %E and %O, which ask for other calendars and
// digits. Its own locale has none: they change nothing.
const (
	withE = "%CPRTXYZcnprstuxyz"
	withO = "%BCGHIMPRSTUVWZbdeghjklmnprstuwyz"
)

// strftime is C's strftime in the C locale, with glibc's flags. Unknown directives are copied unchanged.
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

// timePart formats one directive of strftime, %c. flag is the padding of a number ("-", "_" or "0"), letters
// asks for capitals ("^" or "#"); 0 stands for none.
func timePart(t time.Time, c, flag, letters byte) string {
	if n, ok := timeNumber(t, c); ok {
		return n.padded(flag)
	}
	switch c {
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 's':
		return fmt.Sprint(t.Unix())
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

// paddedNumber is a number of a date, with strftime's default width and padding.
type paddedNumber struct {
	value, width int
	pad          byte // '0' or ' '
}

// padded writes the number. flag, if it is not 0, replaces the default padding; '-' pads nothing.
func (n paddedNumber) padded(flag byte) string {
	switch flag {
	case '-':
		return fmt.Sprint(n.value)
	case '_':
		n.pad = ' '
	case '0':
		n.pad = '0'
	}
	if n.pad == ' ' {
		return fmt.Sprintf("%*d", n.width, n.value)
	}
	return fmt.Sprintf("%0*d", n.width, n.value)
}

// timeNumber returns the number that directive %c stands for, if it stands for a padded one.
func timeNumber(t time.Time, c byte) (n paddedNumber, ok bool) {
	hour12 := (t.Hour()+11)%12 + 1
	isoYear, isoWeek := t.ISOWeek()
	weekday := int(t.Weekday())
	fromMonday := (weekday + 6) % 7
	n, ok = map[byte]paddedNumber{
		'Y': {t.Year(), 1, '0'},
		'C': {t.Year() / 100, 2, '0'},
		'y': {t.Year() % 100, 2, '0'},
		'G': {isoYear, 1, '0'},
		'g': {isoYear % 100, 2, '0'},
		'm': {int(t.Month()), 2, '0'},
		'd': {t.Day(), 2, '0'},
		'e': {t.Day(), 2, ' '},
		'j': {t.YearDay(), 3, '0'},
		'H': {t.Hour(), 2, '0'},
		'k': {t.Hour(), 2, ' '},
		'I': {hour12, 2, '0'},
		'l': {hour12, 2, ' '},
		'M': {t.Minute(), 2, '0'},
		'S': {t.Second(), 2, '0'},
		'u': {fromMonday + 1, 1, '0'},
		'w': {weekday, 1, '0'},
		'U': {(t.YearDay() + 6 - weekday) / 7, 2, '0'},
		'W': {(t.YearDay() + 6 - fromMonday) / 7, 2, '0'},
		'V': {isoWeek, 2, '0'},
	}[c]
	return n, ok
}
