package show

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes writes a number of bytes with three digits, in powers of 1000: 7642159104 as 7.64 GB.
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	unit := 0
	for v >= 999.5 {
		v /= 1000
		unit++
	}
	return strings.TrimSuffix(fmt.Sprintf("%#.3g", v), ".") + " " + units[unit]
}

// Thousands writes 3821079552 as 3,821,079,552.
func Thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Percent writes a probability with two decimal places, and a small one with two digits: 41.23%, 0.0061%,
// 6.1e-05%, 0%.
func Percent(p float64) string {
	switch {
	case p == 0:
		return "0%"
	case p >= 0.0001:
		return fmt.Sprintf("%.2f%%", p*100)
	case p >= 0.000001:
		return strconv.FormatFloat(p*100, 'f', 1-int(math.Floor(math.Log10(p*100))), 64) + "%"
	}
	return fmt.Sprintf("%.1e%%", p*100)
}

// Digits writes a number of at least 0 with three or more digits, at most two of them after the point.
func Digits(v float64) string {
	switch {
	case v >= 99.95: // rounds to 100
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// Duration writes a duration in milliseconds or, from a second on, in seconds: 12.3 ms, 1.50 s.
func Duration(d time.Duration) string { return Milliseconds(d.Seconds() * 1e3) }

// Milliseconds writes a duration as [Duration] does.
func Milliseconds(ms float64) string {
	if ms < 999.5 {
		return Digits(ms) + " ms"
	}
	return Digits(ms/1000) + " s"
}
