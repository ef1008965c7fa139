package model

import (
	"bytes"
	"slices"

	"phi3/internal/weight"
)

const (
	embedName = "model.embed_tokens.weight"
	headName  = "lm_head.weight"
)

// tie returns the weight table of a checkpoint. If config.json says that the embedding table and the LM head
// are one tensor, the tensors in the checkpoint decide, as in transformers 5 (tie_weights). If one of the two
// is missing, the other is used for both. If both are there and differ, both are used, with a note. To
// compare them, tie reads both tensors up to the first difference.
func tie(c *Config, w *Weights, ckpt weight.Source) ([]tensorRow, error) {
	table := w.table(c)
	if !c.TiedEmbeddings {
		return table, nil
	}
	embed, hasEmbed := find(ckpt, embedName)
	head, hasHead := find(ckpt, headName)
	if !hasHead {
		return table, nil
	}
	if !hasEmbed { // the head is the table
		i := slices.IndexFunc(table, func(r tensorRow) bool { return r.name == embedName })
		table[i].name = headName
		return table, nil
	}
	same := false
	err := weight.Guard([]*weight.Tensor{embed, head}, func() error {
		same = sameValues(embed, head)
		return nil
	})
	if err == nil && !same {
		c.TiedEmbeddings, c.HeadDiffers = false, true
		c.note("config.json says that the LM head is the embedding table (tie_word_embeddings), but the " +
			"file's " +
			headName + " differs from it: phi3 uses " + headName + ", as transformers 5 does; " +
			"set tie_word_embeddings to false to say so")
		return w.table(c), nil
	}
	return table, err
}

// sameValues reports whether two tensors hold the same numbers.
func sameValues(a, b *weight.Tensor) bool {
	if !slices.Equal(a.Shape, b.Shape) || !readable(a) || !readable(b) {
		return false
	}
	if a.Format == b.Format {
		return bytes.Equal(a.Data, b.Data)
	}
	const piece = 1 << 12
	part := func(t *weight.Tensor, from, n int) []float32 {
		values := make([]float32, n)
		weight.Widen(values, t.Data[t.Format.RowBytes(from):], t.Format)
		return values
	}
	for from := 0; from < a.Elems(); from += piece {
		n := min(piece, a.Elems()-from)
		if !slices.Equal(part(a, from, n), part(b, from, n)) {
			return false
		}
	}
	return true
}
