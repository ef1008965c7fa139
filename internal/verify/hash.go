package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"phi3/internal/model"
)

// LogitsHash returns a hash that is the same on two machines only if they compute the same logits. It is the
// first 16 hexadecimal digits of the SHA-256 of the logits of fixed ids, as float32 in little-endian order. A
// prompt is fed in one step, and the tokens after it one by one and by threes. The model needs a context of
// [Context] tokens and steps of at least hashPrompt tokens.
func LogitsHash(ctx context.Context, m *model.Model) (string, error) {
	ids := spread(hashPrompt+12, m.Config.VocabSize)
	cache := m.NewCache()
	defer cache.Reset()
	hash := sha256.New()
	end := 0
	for _, n := range []int{hashPrompt, 1, 1, 1, 3, 3, 3} {
		end += n
		out := model.Output{AllLogits: true}
		if _, err := m.Feed(ctx, model.Input{IDs: ids, Cache: cache, End: end}, &out); err != nil {
			return "", err
		}
		if err := binary.Write(hash, binary.LittleEndian, out.Logits); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}

// hashPrompt is the length of the prompt: more tokens than any backend counts as decoding.
const hashPrompt = 40
