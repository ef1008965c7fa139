package generate

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// The top-k of 50 that a file does not give can be told from one that it gives.
func TestDefaultsGiveTopK(t *testing.T) {
	for file, want := range map[string]bool{
		`{}`: false, `{"top_k": null}`: false, `{"top_k": 50}`: true, `{"top_k": 0}`: true,
	} {
		d, err := ReadDefaults(fstest.MapFS{"generation_config.json": {Data: []byte(file)}}, true)
		require.NoError(t, err)
		require.Equal(t, want, d.GivesTopK, file)
		if !want {
			require.Equal(t, 50, d.Sampling.TopK)
		}
	}
}
