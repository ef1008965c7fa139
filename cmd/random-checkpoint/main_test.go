package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

func TestOptions(t *testing.T) {
	o, err := options(strings.Fields("--preset phi-4 --out d --dtype f16 --seed 9 --shard-bytes 77 "+
		"--tokenizer t --force"), nil)
	require.NoError(t, err)
	require.Contains(t, string(o.Config), `"vocab_size": 100352`)
	require.Contains(t, string(o.GenerationConfig), "100265")
	require.Equal(t, "d", o.Dir)
	require.Equal(t, "t", o.TokenizerDir)
	require.Equal(t, weight.F16, o.Format)
	require.EqualValues(t, 9, o.Seed)
	require.EqualValues(t, 77, o.ShardBytes)
	require.True(t, o.Force)

	config := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(config, []byte("{}"), 0o600))
	o, err = options([]string{"--config", config, "--out", "d"}, nil)
	require.NoError(t, err)
	require.Equal(t, "{}", string(o.Config))
	require.Nil(t, o.GenerationConfig) // there is no such file
	require.Equal(t, weight.BF16, o.Format)

	generation := filepath.Join(filepath.Dir(config), "generation_config.json")
	require.NoError(t, os.WriteFile(generation, []byte("[]"), 0o600))
	o, err = options([]string{"--config", config, "--out", "d"}, nil)
	require.NoError(t, err)
	require.Equal(t, "[]", string(o.GenerationConfig))
}

func TestBadOptions(t *testing.T) {
	for line, want := range map[string]string{
		"--preset phi-4":                       "--out is missing",
		"--out d":                              "give either --config or --preset",
		"--out d --config c --preset phi-4":    "give either --config or --preset",
		"--out d --preset phi-5":               `no preset "phi-5"`,
		"--out d --config /absent/config.json": "no such file",
		"--out d --preset phi-4 extra":         `unexpected argument "extra"`,
		"--out d --preset phi-4 --dtype q4":    `--dtype is "q4", not bf16, f16 or f32`,
		"--sed 1":                              "-sed",
	} {
		_, err := options(strings.Fields(line), nil)
		require.ErrorContains(t, err, want, line)
	}
	var help strings.Builder
	_, err := options([]string{"-h"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help.String(), "-preset")
}
