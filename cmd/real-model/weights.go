package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/x448/float16"

	"phi3/internal/gguf"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// sizes are those of a checkpoint, before and after padding.
type sizes struct {
	layers, intermediate     int
	hidden, heads, kvHeads   int // of the source
	width, outHeads, outKV   int // of the result: hidden size, heads, heads of keys and values
	headDim                  int
	eps                      float64
	dither                   bool
	scale                    float32 // of the weights of the norms
	vocabulary, maxPositions int
}

// readSizes reads the sizes from the metadata of a llama. With pad, hidden size and heads grow by a third.
//
// Padding adds zeros to x, so the mean of its squares, by whose root RMSNorm divides, is smaller by the
// factor hidden/width. An epsilon that is smaller by the same factor, and weights of the norm that are
// smaller by its root, give the same result. The new heads have zeros in v and in the columns of o_proj.
func readSizes(meta *gguf.Metadata, pad bool) (s sizes, err error) {
	read := func(key string) int {
		n, e := meta.Int("llama."+key, 0)
		if e == nil && n < 1 {
			e = meta.Errorf("llama."+key, "is missing or not positive")
		}
		err = errors.Join(err, e)
		return int(n)
	}
	s.layers, s.intermediate = read("block_count"), read("feed_forward_length")
	s.hidden, s.heads, s.kvHeads = read("embedding_length"), read("attention.head_count"),
		read("attention.head_count_kv")
	s.vocabulary, s.maxPositions = read("vocab_size"), read("context_length")
	if err != nil {
		return s, err
	}
	s.headDim = s.hidden / s.heads
	s.width, s.outHeads, s.outKV, s.eps, s.scale = s.hidden, s.heads, s.kvHeads, 1e-5, 1
	if pad {
		s.width, s.outHeads, s.outKV = s.hidden*4/3, s.heads*4/3, s.kvHeads*4/3
		share := float64(s.hidden) / float64(s.width)
		s.eps, s.scale = s.eps*share, float32(math.Sqrt(share))
	}
	return s, nil
}

// rowOf is a row of a matrix of the source. The zero value is a row of zeros.
type rowOf struct {
	tensor *weight.Tensor
	row    int
}

// matrix is a matrix of the result, in bfloat16.
type matrix struct {
	name string
	rows []rowOf
	cols int // the rows of the source may be shorter: zeros follow
	// dither moves each weight by a random part of a step of the source's grid, up to half a step.
	dither bool
}

// writer collects the tensors of the result. It keeps the first error.
type writer struct {
	source  *gguf.Weights
	sizes   sizes
	entries []safetensors.Entry
	err     error
}

// convert writes the checkpoint.
func convert(model *gguf.Checkpoint, dir string, pad, dither bool) error {
	s, err := readSizes(&model.Meta, pad)
	if err != nil {
		return err
	}
	s.dither = dither
	w := &writer{source: model.Weights(), sizes: s}
	defer func() { _ = w.source.Close() }()
	w.add("model.embed_tokens.weight", w.rows("token_embd.weight"), s.width)
	w.norm("model.norm.weight", "output_norm.weight")
	for i := range s.layers {
		from, to := fmt.Sprintf("blk.%d.", i), fmt.Sprintf("model.layers.%d.", i)
		w.add(to+"self_attn.qkv_proj.weight", slices.Concat(
			w.zeros(w.unpermuted(from+"attn_q.weight"), s.outHeads*s.headDim),
			w.zeros(w.unpermuted(from+"attn_k.weight"), s.outKV*s.headDim),
			w.zeros(w.rows(from+"attn_v.weight"), s.outKV*s.headDim)), s.width)
		w.add(to+"self_attn.o_proj.weight", w.zeros(w.rows(from+"attn_output.weight"), s.width),
			s.outHeads*s.headDim)
		w.add(to+"mlp.gate_up_proj.weight", slices.Concat(
			w.rows(from+"ffn_gate.weight"), w.rows(from+"ffn_up.weight")), s.width)
		w.add(to+"mlp.down_proj.weight", w.zeros(w.rows(from+"ffn_down.weight"), s.width), s.intermediate)
		w.norm(to+"input_layernorm.weight", from+"attn_norm.weight")
		w.norm(to+"post_attention_layernorm.weight", from+"ffn_norm.weight")
	}
	if w.err != nil {
		return w.err
	}
	file, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return err
	}
	err = safetensors.Write(file, w.entries, map[string]string{"format": "pt"})
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return writeFiles(&model.Meta, dir, &s)
}

// tensor returns a tensor of the source by its name there.
func (w *writer) tensor(name string) *weight.Tensor {
	t, ok := w.source.Tensor(gguf.HuggingFaceName(name))
	if !ok && w.err == nil {
		w.err = fmt.Errorf("the file has no tensor %s", name)
	}
	return t
}

// rows returns the rows of a matrix of the source.
func (w *writer) rows(name string) []rowOf {
	t := w.tensor(name)
	if t == nil {
		return nil
	}
	rows := make([]rowOf, t.Shape[0])
	for i := range rows {
		rows[i] = rowOf{t, i}
	}
	return rows
}

// unpermuted returns the rows of q or k in Hugging Face's order. In a GGUF file of a llama, the two rows that
// rotate together are neighbours; in Hugging Face's order, half a head lies between them.
func (w *writer) unpermuted(name string) []rowOf {
	rows := w.rows(name)
	result := make([]rowOf, len(rows))
	half := w.sizes.headDim / 2
	for i := range rows {
		head, place := i/(2*half), i%(2*half)
		result[i] = rows[head*2*half+place%half*2+place/half]
	}
	return result
}

// zeros appends rows of zeros up to a number of rows.
func (w *writer) zeros(rows []rowOf, n int) []rowOf {
	return append(rows, make([]rowOf, n-len(rows))...)
}

// add adds a matrix.
func (w *writer) add(name string, rows []rowOf, cols int) {
	m := matrix{name, rows, cols, w.sizes.dither}
	w.entries = append(w.entries, safetensors.Entry{
		Name: name, Format: weight.BF16, Shape: []int{len(rows), cols}, WriteTo: m.writeTo,
	})
}

func (m *matrix) writeTo(w io.Writer) error {
	values, widened := make([]uint16, m.cols), make([]float32, m.cols)
	line := make([]byte, 2*m.cols)
	name := fnv.New64a()
	_, _ = name.Write([]byte(m.name))
	random := rand.New(rand.NewPCG(name.Sum64(), 0))
	for _, r := range m.rows {
		clear(values)
		if t := r.tensor; t != nil {
			cols := t.Shape[1]
			size := t.Format.RowBytes(cols)
			data := t.Data[r.row*size:][:size]
			if t.Format.Quantized() {
				weight.Dequantize(widened[:cols], data, t.Format)
			} else {
				weight.Widen(widened[:cols], data, t.Format)
			}
			if m.dither {
				addNoise(widened[:cols], data, t.Format, random)
			}
			for i, x := range widened[:cols] {
				values[i] = weight.ToBF16(x)
			}
		}
		for i, v := range values {
			binary.LittleEndian.PutUint16(line[2*i:], v)
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// addNoise adds a random number, up to half a step of the grid, to each weight of a row of Q4_1 or Q8_0.
func addNoise(values []float32, data []byte, f weight.Format, random *rand.Rand) {
	weights, size := f.Block()
	for i := range values {
		if f == weight.Q4_1 || f == weight.Q8_0 { // a block begins with the step, in float16
			step := float16.Frombits(binary.LittleEndian.Uint16(data[i/weights*size:])).Float32()
			values[i] += step * (random.Float32() - 0.5)
		}
	}
}

// norm adds the weights of a norm: in bfloat16, or in float32 if they are scaled, so that the result is the
// same to float32's precision.
func (w *writer) norm(name, from string) {
	t := w.tensor(from)
	if t == nil {
		return
	}
	e := safetensors.Entry{Name: name, Format: weight.BF16, Shape: []int{w.sizes.width}}
	if w.sizes.scale != 1 {
		e.Format = weight.F32
	}
	e.WriteTo = func(to io.Writer) error {
		values := make([]float32, w.sizes.width)
		weight.Widen(values[:len(t.Data)/4], t.Data, t.Format)
		var b []byte
		for _, x := range values {
			if e.Format == weight.BF16 {
				b = binary.LittleEndian.AppendUint16(b, weight.ToBF16(x))
			} else {
				x = weight.FromBF16(weight.ToBF16(x)) // as in the checkpoint without padding
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x*w.sizes.scale))
			}
		}
		_, err := to.Write(b)
		return err
	}
	if t.Format != weight.F32 && w.err == nil {
		w.err = fmt.Errorf("tensor %s is %s, not F32", from, t.Format)
	}
	w.entries = append(w.entries, e)
}
