package show

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes writes a number of bytes with three digits, in powers of 1000: 7.64 GB.
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
