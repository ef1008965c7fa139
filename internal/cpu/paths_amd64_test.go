package cpu

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The paths of a processor, the best first, depend on its vendor and its instructions.
func TestProcessorPaths(t *testing.T) {
	const intel, amd = "GenuineIntel", "AuthenticAMD"
	for _, c := range []struct {
		name string
		p    processor
		want string
	}{
		{"Sapphire Rapids", processor{intel, 6, 143, true, true, true, true}, "amx avx512 avx512bf16 avx2"},
		{
			"Sapphire Rapids whose hypervisor or kernel hides AMX",
			processor{intel, 6, 143, true, true, true, false},
			"avx512 avx512bf16 avx2",
		},
		{
			"Granite Rapids without AMX",
			processor{intel, 6, 173, true, true, true, false},
			"avx512 avx512bf16 avx2",
		},
		{"Intel's family 19", processor{intel, 19, 1, true, true, true, false}, "avx512 avx512bf16 avx2"},
		{"Cooper Lake", processor{intel, 6, 85, true, true, true, false}, "avx512bf16 avx512 avx2"},
		{"Ice Lake", processor{intel, 6, 106, true, true, false, false}, "avx512 avx2"},
		{"Haswell", processor{intel, 6, 63, true, false, false, false}, "avx2"},
		{"Zen 4", processor{amd, 25, 17, true, true, true, false}, "avx512bf16 avx512 avx2"},
		{"Zen 5", processor{amd, 26, 2, true, true, true, false}, "avx512bf16 avx512 avx2"},
		{"Zen 3", processor{amd, 25, 1, true, false, false, false}, "avx2"},
		{
			"an unknown vendor",
			processor{"Something", 6, 143, true, true, true, false},
			"avx512bf16 avx512 avx2",
		},
		{"an old one", processor{intel, 6, 42, false, false, false, false}, ""},
	} {
		var names []string
		for _, k := range c.p.paths() {
			names = append(names, k.name)
		}
		require.Equal(t, c.want, strings.Join(names, " "), c.name)
	}
}

// The processor is described as by Linux, and in the same way every time.
func TestThisProcessor(t *testing.T) {
	p := thisProcessor()
	require.Equal(t, p, thisProcessor())
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Skip("this system has no /proc/cpuinfo")
	}
	for key, got := range map[string]string{
		"vendor_id": p.vendor, "cpu family": strconv.Itoa(p.family), "model": strconv.Itoa(p.model),
	} {
		m := regexp.MustCompile(`(?m)^` + key + `\s*: (.*)$`).FindSubmatch(info)
		require.NotNil(t, m, key)
		require.Equal(t, string(m[1]), got, key)
	}
}
