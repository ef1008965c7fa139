package verify

import (
	"fmt"
	"io"

	"phi3/internal/show"
)

// Table writes results to w as they come, one row each, and one line for each further distance. width is the
// number of the terminal's columns, 0 for any. What is too long is cut off; the JSON has all of it.
func Table(w io.Writer, width int) func(Result) error {
	widths := columnWidths(width)
	row := func(cells ...string) error {
		_, err := io.WriteString(w, show.Row(widths, cells...))
		return err
	}
	first := true
	return func(r Result) error {
		if first {
			first = false
			if err := row("verdict", "check", "type", "expected", "got", "distance"); err != nil {
				return err
			}
		}
		verdict := "ok"
		if !r.Passed {
			verdict = "FAIL"
		}
		distance, further := "", r.Distance
		if len(further) > 0 {
			distance, further = further[0].String(), further[1:]
		}
		check := fmt.Sprintf("%s (%s)", r.Check, r.Source)
		if err := row(verdict, check, r.DType, r.Expected, r.Got, distance); err != nil {
			return err
		}
		for _, m := range further {
			if err := row("", "", "", "", "", m.String()); err != nil {
				return err
			}
		}
		return nil
	}
}

// columnWidths are the widths of all columns but the last, so that a line of the terminal has room for all.
func columnWidths(terminal int) []int {
	const verdict, dtype, distance, gaps, least = 7, 4, 28, 5 * 2, 10
	check, value := 46, 28
	if room := terminal - verdict - dtype - distance - gaps; terminal > 0 && room < check+2*value {
		value = max(least, room*3/10)
		check = max(least, room-2*value)
	}
	return []int{verdict, check, dtype, value, value}
}

// Err returns nil if all checks have passed.
func (r *Report) Err() error {
	failed := 0
	for _, result := range r.Results {
		if !result.Passed {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed", failed, len(r.Results))
}
