package backendtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/race"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// testQuantized compares the logits of small models with quantized weights, byte for byte, with those of the
// models of bfloat16 that they expand to: in every format, in steps of all kinds of size.
func testQuantized(t *testing.T, variants []Variant, effort Effort) {
	formats := QuantizedFormats()
	if race.Enabled { // a race shows on two formats as well as on all
		formats = []weight.Format{weight.Q4_0, weight.Q4_K} // a weight block of 32, and one of 256
	}
	for _, f := range formats {
		t.Run(f.String(), func(t *testing.T) {
			weights, _ := f.Block()
			fsys := smallCheckpoint(t, 96)
			if weights == 256 {
				fsys = smallCheckpoint(t, 256)
			}
			blocks := func(tensor *weight.Tensor) *weight.Tensor { return withRandomBlocks(tensor, f) }
			compareQuantized(t, fsys, variants, effort, nil, blocks)
		})
	}
	// What phi3 quantizes itself while it loads. Rows of 96 take formats of 32 weights a block instead.
	recipes := map[string]int{"q4_k": 256, "q5_k": 96}
	if race.Enabled { // to quantize takes long, and is the same for every backend
		delete(recipes, "q4_k")
	}
	for name, hidden := range recipes {
		t.Run(fmt.Sprintf("recipe/%s,%d", name, hidden), func(t *testing.T) {
			recipe, err := quantize.Parse(name)
			require.NoError(t, err)
			compareQuantized(t, smallCheckpoint(t, hidden), variants, effort, &recipe, nil)
		})
	}
}

// compareQuantized loads the checkpoint with quantized matrices, and with their expansions. The recipe, or
// replace, quantizes them.
func compareQuantized(
	t *testing.T, fsys fs.FS, variants []Variant, effort Effort,
	recipe *quantize.Recipe, replace func(*weight.Tensor) *weight.Tensor,
) {
	open := func(v Variant, float32 bool, replace func(*weight.Tensor) *weight.Tensor) *model.Model {
		b := v.Open(float32)
		if replace != nil {
			b = &replacing{b, replace}
		}
		m, err := model.Load(context.Background(), fsys, b,
			model.Options{MaxTokens: 70, Context: 128, Weights: recipe})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		return m
	}
	expand := func(tensor *weight.Tensor) *weight.Tensor {
		if replace != nil {
			tensor = replace(tensor)
		}
		return expanded(tensor)
	}
	for _, float32 := range []bool{false, true} {
		plain := open(variants[0], float32, expand)
		ids := randomIDs(plain, effort.of(70, 20))
		want := everyLogits(t, plain, ids)
		require.NotEqual(t, want[len(ids)-1], want[len(ids)])
		for i, v := range variants[:effort.of(2, 1)] {
			packed := open(v, float32, replace)
			sizes := []int{len(ids), 1, 2, 7, 17, 33}
			if i > 0 || float32 {
				sizes = []int{len(ids), 1}
			}
			for _, size := range sizes {
				cache := packed.NewCache()
				_, logits := feed(t, packed, cache, ids[:min(len(ids), max(2*size+1, effort.of(7, 3)))], size)
				for n, row := range logits {
					requireSameBits(t, want[n+1], row, "%s, float32 %v, %d tokens in steps of %d", v.Name,
						float32, n+1, size)
				}
				cache.Reset()
			}
		}
	}
}

// replacing is a backend that gets other matrices than the checkpoint has.
type replacing struct {
	model.Backend
	replace func(*weight.Tensor) *weight.Tensor
}

// Plan implements [model.Backend].
func (r *replacing) Plan(p *model.Plan) error {
	tensors := make([]*weight.Tensor, len(p.Tensors))
	for i, t := range p.Tensors {
		tensors[i] = r.matrix(t)
	}
	p.Tensors = tensors
	return r.Backend.Plan(p)
}

// Upload implements [model.Backend].
func (r *replacing) Upload(t *weight.Tensor) (model.Weight, error) {
	return r.Backend.Upload(r.matrix(t))
}

func (r *replacing) matrix(t *weight.Tensor) *weight.Tensor {
	if len(t.Shape) != 2 {
		return t
	}
	return r.replace(t)
}

// withRandomBlocks returns a tensor of the same name and shape in the format. If t has data, it has random
// data, always the same.
func withRandomBlocks(t *weight.Tensor, f weight.Format) *weight.Tensor {
	replaced := *t
	replaced.Format = f
	if t.Data != nil {
		seed := fnv.New64a()
		_, _ = seed.Write([]byte(t.Name))
		rng := rand.New(rand.NewSource(int64(seed.Sum64())))
		replaced.Data = RandomBlocks(rng, f, t.Elems())
	}
	return &replaced
}

// expanded returns the tensor in bfloat16.
func expanded(t *weight.Tensor) *weight.Tensor {
	if !t.Format.Quantized() {
		return t
	}
	e := *t
	e.Format = weight.BF16
	if t.Data != nil {
		e.Data = Expand(t.Data, t.Format)
	}
	return &e
}

// smallCheckpoint returns a checkpoint of bfloat16 with one layer. Its heads have a width that all backends
// support.
func smallCheckpoint(t *testing.T, hidden int) fs.FS {
	t.Helper()
	config := fmt.Appendf(nil, `{"model_type": "phi3", "vocab_size": 71, "hidden_size": %d,
		"intermediate_size": %d, "num_hidden_layers": 1, "num_attention_heads": %d, "num_key_value_heads": 1,
		"head_dim": 64, "max_position_embeddings": 128,
		"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}`,
		hidden, 3*hidden, hidden/32)
	c, err := model.ParseConfig(config)
	require.NoError(t, err)
	rng := rand.New(rand.NewSource(8))
	var entries []safetensors.Entry
	for _, spec := range c.Tensors() {
		n, mean, size := 1, float32(0), float32(0.05)
		for _, dim := range spec.Shape {
			n *= dim
		}
		if len(spec.Shape) == 1 {
			mean, size = 1, 0.1
		}
		var data []byte
		for range n {
			v := mean + size*float32(rng.NormFloat64())
			data = binary.LittleEndian.AppendUint16(data, weight.ToBF16(v))
		}
		e := safetensors.Entry{Name: spec.Name, Format: weight.BF16, Shape: spec.Shape}
		e.WriteTo = func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		}
		entries = append(entries, e)
	}
	var file bytes.Buffer
	require.NoError(t, safetensors.Write(&file, entries, nil))
	return fstest.MapFS{"config.json": {Data: config}, "model.safetensors": {Data: file.Bytes()}}
}
