package show

import (
	"math"
	"testing"
	"time"

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

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123",
		9.994: "9.99", 9.996: "10.0", 99.94: "99.9", 99.96: "100", 98765.4: "98765",
	} {
		require.Equal(t, want, Digits(v))
	}
	require.Equal(t, "12.0 ms", Duration(12*time.Millisecond))
	require.Equal(t, "1.50 s", Milliseconds(1500))
	require.Equal(t, "999 ms", Milliseconds(999.4))
	require.Equal(t, "1.00 s", Milliseconds(999.6))
	require.Equal(t, "99.87%", Percent(0.99871))
	require.Equal(t, "0.0061%", Percent(0.000061))
	require.Equal(t, "1.4e-05%", Percent(1.4e-7))
	require.Equal(t, "0%", Percent(0))
}

func TestTable(t *testing.T) {
	require.Equal(t, "name  bytes\na        10\n日本      1  x␛\n", Table([][]string{
		{"name", "bytes"}, {"a", "10", ""}, {"日本", "1", "x\x1b"},
	}, 1))
	require.Empty(t, Table(nil))
}
