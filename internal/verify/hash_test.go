package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/model"
)

// The hash is of the logits of 52 tokens, whichever way they were fed; and float32 has another than bfloat16.
func TestLogitsHash(t *testing.T) {
	hashes := map[string]bool{}
	for _, float32 := range []bool{false, true} {
		b, err := cpu.New(cpu.Options{Float32: float32})
		require.NoError(t, err)
		m, err := model.Load(context.Background(), demo.FS(), b, model.Options{Context: Context})
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		got, err := LogitsHash(context.Background(), m)
		require.NoError(t, err)

		all, _, err := forward(context.Background(), m, spread(52, m.Config.VocabSize))
		require.NoError(t, err)
		hash := sha256.New()
		for _, row := range all {
			require.NoError(t, binary.Write(hash, binary.LittleEndian, row))
		}
		require.Equal(t, hex.EncodeToString(hash.Sum(nil))[:16], got)
		hashes[got] = true

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = LogitsHash(ctx, m)
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Len(t, hashes, 2)
}
