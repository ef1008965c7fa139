package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWrongFlags: a flag or an argument that has no effect is an error, and so is an impossible value.
func TestWrongFlags(t *testing.T) {
	for line, want := range map[string]string{
		"H100":                       `unexpected argument "H100"`,
		"-card H100 extra":           `unexpected argument "extra"`,
		"-weights q4_k":              "-card is missing",
		"-figures f":                 "-card is missing",
		"-card H100 -update page":    "no other flags",
		"-card H1000":                "it knows RTX 3060",
		"-card H100 -without B9":     "B9",
		"-card H100 -weights q9":     "q9",
		"-card H100 -tokens 65":      "1 to 64 tokens",
		"-card H100 -cached -1":      "-1 cached tokens",
		"-card H100 -config /absent": "no such file",
	} {
		require.ErrorContains(t, run(strings.Fields(line), io.Discard), want, line)
	}
	require.ErrorIs(t, run([]string{"-help"}, io.Discard), flag.ErrHelp)
}

// TestStep: with a card the program prints one step.
func TestStep(t *testing.T) {
	var out strings.Builder
	flags := strings.Fields("-card h100 -weights q4_k -cached 4000 -tokens 8 -without B4")
	require.NoError(t, run(flags, &out))
	require.Contains(t, out.String(), "| H100, with B1, B2, B3, B5 |")
	require.Contains(t, out.String(), "| Attend |")
}
