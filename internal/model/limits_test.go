package model

import (
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A configuration cannot ask for memory that its file does not have: what it names is compared with the
// tensors that are there first.
func TestConfigAllocatesLittle(t *testing.T) {
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	header := `{"model.norm.weight":{"dtype":"BF16","shape":[8],"data_offsets":[0,16]}}`
	weights := append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header...)
	weights = append(weights, make([]byte, 16)...)
	const largest = "16777216"
	for config, want := range map[string]string{
		`"num_hidden_layers": ` + largest: "config.json: num_hidden_layers is 16777216, more than 4096",
		`"num_hidden_layers": 4096`:       "is missing",
		`"hidden_size": ` + largest +
			`, "num_attention_heads": 16384, "head_dim": 2`: "tensor model.embed_tokens.weight is missing",
		`"vocab_size": ` + largest:                                                          "is missing",
		`"hidden_size": 8192, "intermediate_size": ` + largest:                              "is missing",
		`"max_position_embeddings": ` + largest + `, "sliding_window": 9223372036854775807`: "is missing",
	} {
		fsys := fstest.MapFS{
			"config.json":       {Data: []byte("{" + minimal + ", " + config + "}")},
			"model.safetensors": {Data: weights},
		}
		var err error
		require.Less(t, allocated(func() { _, err = Open(fsys) }), uint64(16<<20), config)
		require.ErrorContains(t, err, want)
	}
	// The text itself, made of what takes most memory when it is read.
	for name, value := range map[string]string{
		"short_factor": `{"type": "su", "short_factor": [` + strings.Repeat("1,", 1<<19) + `1]}`,
		"unknown keys": `{"x": [` + strings.Repeat("{},", 1<<19) + `{}]}`,
		"a string":     `"` + strings.Repeat(`\n`, 1<<19) + `"`,
	} {
		text := []byte("{" + minimal + `, "rope_scaling": ` + value + "}")
		var err error
		require.Less(t, allocated(func() { _, err = ParseConfig(text) }), uint64(24*len(text)), name)
		if name != "unknown keys" {
			require.Error(t, err)
			require.Less(t, len(err.Error()), 500)
		}
	}
	for _, name := range []string{"config.json", "generation_config.json"} {
		fsys := fstest.MapFS{"config.json": {Data: []byte("{" + minimal + "}")}}
		fsys[name] = &fstest.MapFile{Data: make([]byte, MaxConfigBytes+1)}
		_, err := ReadConfig(fsys)
		require.EqualError(t, err, name+": has 4194305 bytes, over the limit of 4194304")
		fsys[name] = &fstest.MapFile{Mode: fs.ModeNamedPipe}
		_, err = ReadConfig(fsys)
		require.EqualError(t, err, name+": is not a regular file but a named pipe")
	}
}
