package model

import (
	"context"
	"io"
	"strings"
	"testing"

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

// The matrices get the formats of the recipe, and the others stay as they are stored. The plan has the formats
// before the weights are read.
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
