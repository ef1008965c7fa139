package show

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 1234: "1.23 kB", 9995: "9.99 kB",
		12345: "12.3 kB", 123456: "123 kB", 999499: "999 kB", 999500: "1.00 MB",
		7642159104: "7.64 GB", math.MaxInt64: "9.22 EB",
	} {
		require.Equal(t, want, Bytes(n), n)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 3821079552: "3,821,079,552",
	} {
		require.Equal(t, want, Thousands(n))
	}
}
