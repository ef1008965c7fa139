package model

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/quantize"
	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// wideConfig has rows of 32 and 96 weights.
var wideConfig = strings.NewReplacer(`"hidden_size": 4`, `"hidden_size": 32`,
	`"intermediate_size": 3`, `"intermediate_size": 96`).Replace(tinyConfig)

// A formatRecorder remembers the formats of the tensors.
type formatRecorder struct {
	recorder
	plan, upload map[string]weight.Format
}

func (r *formatRecorder) Plan(p *Plan) error {
	r.plan = map[string]weight.Format{}
	for _, t := range p.Tensors {
		r.plan[t.Name] = t.Format
	}
	return r.recorder.Plan(p)
}

func (r *formatRecorder) Upload(t *weight.Tensor) (Weight, error) {
	if r.upload == nil {
		r.upload = map[string]weight.Format{}
	}
	r.upload[t.Name] = t.Format
	if int64(len(t.Data)) != t.Bytes() {
		panic(t.Name)
	}
	return r.recorder.Upload(t)
}

// The matrices get the formats of the recipe, and the others stay as they are stored. The plan has the
// formats before the weights are read.
func TestQuantizeWhileLoading(t *testing.T) {
	recipe, err := quantize.Parse("q4_0") // with Q6_K, for which rows of 32 have Q8_0
	require.NoError(t, err)
	for _, tied := range []bool{false, true} {
		config := wideConfig
		if tied {
			config = strings.Replace(config, "{", `{"tie_word_embeddings": true, `, 1)
		}
		b := new(formatRecorder)
		m, err := Load(context.Background(), tinyCheckpoint(t, config, nil), b, Options{Weights: &recipe})
		require.NoError(t, err)
		require.Equal(t, b.plan, b.upload)
		var bytes int64
		for name, f := range b.upload {
			want := weight.Q4_0
			switch {
			case strings.Contains(name, "norm"):
				want = weight.BF16
			case name == embedName, name == headName:
				want = weight.Q8_0
			}
			require.Equal(t, want, f, name)
			for _, row := range m.checkpoint.table {
				if row.name == name {
					bytes += row.tensor.Bytes()
				}
			}
		}
		require.Equal(t, bytes, m.WeightTotal().Bytes)
		require.NoError(t, m.FindNotFinite(context.Background()))
	}
}

// A tensor that is NaN is named, with the place of the number.
func TestQuantizeNotFinite(t *testing.T) {
	recipe, err := quantize.Parse("q4_0")
	require.NoError(t, err)
	const name = "model.layers.1.mlp.down_proj.weight"
	fsys := tinyCheckpoint(t, wideConfig, func(m map[string]*safetensors.Entry) {
		m[name].WriteTo = func(w io.Writer) error {
			data := make([]byte, 2*32*96)
			data[2*(3*96+5)], data[2*(3*96+5)+1] = 0xff, 0xff
			_, err := w.Write(data)
			return err
		}
	})
	_, err = Load(context.Background(), fsys, new(recorder), Options{Weights: &recipe})
	require.EqualError(t, err, `model.safetensors: tensor "`+name+
		`" is NaN or infinite at [3 5]: phi3 cannot quantize it`)
}

// FindNotFinite finds a quantized weight that is infinite, because a scale is, and names its place.
func TestFindNotFiniteQuantized(t *testing.T) {
	for _, f := range []weight.Format{weight.Q4_0, weight.Q6_K, weight.IQ4_XS} {
		source := &weight.Tensor{Name: "w", File: "f", Format: weight.F32, Shape: []int{6, 512}}
		source.Data = make([]byte, source.Bytes())
		q, err := quantize.Tensor(context.Background(), source, f)
		require.NoError(t, err)
		require.NoError(t, findNotFinite(context.Background(), []*weight.Tensor{q}))
		scale := map[weight.Format]int{weight.Q6_K: 208}[f] // its place in a block
		weights, bytes := f.Block()
		block := (3*512 + 256) / weights
		q.Data[block*bytes+scale+1] = 0x7c // infinite
		require.EqualError(t, findNotFinite(context.Background(), []*weight.Tensor{source, q}),
			`f: tensor "w" is NaN or infinite at [3 256]`, "%s", f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, findNotFinite(ctx, []*weight.Tensor{{Shape: []int{1}, Format: weight.F32}}),
		context.Canceled)
}

// A copyRecorder copies what it is given, as a GPU does, and remembers it, and counts the tensors whose
// Data is in memory besides.
type copyRecorder struct {
	formatRecorder
	data        map[string][]byte
	alive, most atomic.Int32
}

func (r *copyRecorder) Upload(t *weight.Tensor) (Weight, error) {
	if t.Format.Quantized() {
		r.alive.Add(1)
		runtime.AddCleanup(t, func(int) { r.alive.Add(-1) }, 0)
	}
	for range 100 { // cleanups run on a goroutine of their own
		runtime.GC()
		if r.alive.Load() <= 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.most.Store(max(r.most.Load(), r.alive.Load()))
	r.data[t.Name] = bytes.Clone(t.Data)
	return r.formatRecorder.Upload(t)
}

// The backend gets the bytes that quantizing each tensor by itself gives, and the memory never holds more
// than one quantized tensor beside the backend's own.
func TestQuantizeOneTensorAtATime(t *testing.T) {
	recipe, err := quantize.Parse("q5_1")
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	fsys := tinyCheckpoint(t, wideConfig, func(m map[string]*safetensors.Entry) {
		for _, e := range m {
			e.WriteTo = func(w io.Writer) error {
				n := 2
				for _, d := range e.Shape {
					n *= d
				}
				data := make([]byte, n)
				for i := 0; i < n; i += 2 {
					v := weight.ToBF16(float32(random.NormFloat64()))
					data[i], data[i+1] = byte(v), byte(v>>8)
				}
				_, err := w.Write(data)
				return err
			}
		}
	})
	b := &copyRecorder{data: map[string][]byte{}}
	_, err = Load(context.Background(), fsys, b, Options{Weights: &recipe})
	require.NoError(t, err)
	require.EqualValues(t, 1, b.most.Load())

	c, err := Open(fsys)
	require.NoError(t, err)
	for _, stored := range c.Tensors {
		want := stored
		if f := b.upload[stored.Name]; f != stored.Format {
			want, err = quantize.Tensor(context.Background(), stored, f)
			require.NoError(t, err)
		}
		require.Equal(t, want.Data, b.data[stored.Name], stored.Name)
	}

	// A checkpoint whose matrices have been described as quantized can be described again.
	require.NoError(t, c.Quantize(recipe))
	again, err := quantize.Parse("q8_0")
	require.NoError(t, err)
	require.NoError(t, c.Quantize(again))
	q, err := c.Data(context.Background(), 0)
	require.NoError(t, err)
	require.Equal(t, weight.Q8_0, q.Format)
	require.Nil(t, c.Tensors[0].Data)
	require.NoError(t, c.Close())
}
