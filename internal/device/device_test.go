package device

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Device{
		"auto": {"auto", 0, "auto"}, "cpu": {"cpu", 0, "cpu"},
		"cuda": {"cuda", 0, "cuda"}, "cuda:0": {"cuda", 0, "cuda:0"}, "cuda:12": {"cuda", 12, "cuda:12"},
	} {
		got, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{
		"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1 ",
		"cuda:99999999999999999999", "cpu:0", "auto:0",
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, fmt.Sprintf("--device is %q", text))
	}
}
