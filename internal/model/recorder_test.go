package model

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// recorder is a Backend that computes nothing and remembers what it was asked.
type recorder struct {
	calls  []string
	cancel func(call string)
	fail   error // what Read and Argmax answer

	planned, uploaded []string // tensors
	maxTokens         int
	fit               func(*Plan)
}

func (r *recorder) call(name string) {
	r.calls = append(r.calls, name)
	if r.cancel != nil {
		r.cancel(name)
	}
}

func (r *recorder) Name() string { return "recorder" }

func (r *recorder) Plan(p *Plan) error {
	for _, t := range p.Tensors {
		r.planned = append(r.planned, t.Name)
	}
	r.maxTokens = p.MaxTokens
	if r.fit != nil {
		r.fit(p)
	}
	p.Matrices()
	return nil
}

func (r *recorder) Upload(t *weight.Tensor) (Weight, error) {
	r.uploaded = append(r.uploaded, t.Name)
	return Weight{Shape: t.Shape, Format: t.Format, Data: t.Name}, nil
}

func (r *recorder) Read([]float32, Matrix) error { return r.fail }

// Argmax chooses the number of the row.
func (r *recorder) Argmax(next []int32, _ Matrix) error {
	r.call("Argmax")
	for i := range next {
		next[i] = int32(i)
	}
	return r.fail
}

func (r *recorder) Close() error { r.call("Close"); return nil }

func (r *recorder) Begin(*Step) { r.call("Begin") }

func (r *recorder) Embed(Matrix, Weight) { r.call("Embed") }

func (r *recorder) Norm(_, _ Matrix, n Weight) { r.call("Norm " + n.Data.(string)) }

func (r *recorder) NormLinear(_, _ Matrix, _, w Weight) { r.call("NormLinear " + w.Data.(string)) }

func (r *recorder) Attend(_, _ Matrix, layer int) {
	r.call("Attend " + string(rune('0'+layer)))
}

func (r *recorder) LinearAdd(_, _ Matrix, w Weight) { r.call("LinearAdd " + w.Data.(string)) }

func (r *recorder) NormGateUp(_, _ Matrix, _, w Weight) { r.call("NormGateUp " + w.Data.(string)) }

func (r *recorder) Select(_, _ Matrix, rows []int32) { r.call("Select") }

// tinyConfig has two layers and tensors of a few numbers.
const tinyConfig = `{"architectures": ["Phi3ForCausalLM"], "vocab_size": 5, "hidden_size": 4,
	"intermediate_size": 3, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
	"max_position_embeddings": 300}`

// tinyCheckpoint is a checkpoint in one file, of zeros where change does not say what is written.
func tinyCheckpoint(t *testing.T, config string, change func(map[string]*safetensors.Entry)) fs.FS {
	t.Helper()
	c, err := ReadConfig(fileSystem("config.json", config))
	require.NoError(t, err)
	tensors := map[string]*safetensors.Entry{}
	for _, row := range new(Weights).table(c) {
		tensors[row.name] = &safetensors.Entry{Name: row.name, Format: weight.BF16, Shape: row.shape}
	}
	if change != nil {
		change(tensors)
	}
	var sources []safetensors.Entry
	for _, s := range tensors {
		n := s.Format.Bits() / 8
		for _, d := range s.Shape {
			n *= d
		}
		if s.WriteTo == nil {
			s.WriteTo = func(w io.Writer) error {
				_, err := w.Write(make([]byte, n))
				return err
			}
		}
		sources = append(sources, *s)
	}
	slices.SortFunc(sources, func(a, b safetensors.Entry) int { return strings.Compare(a.Name, b.Name) })
	var file bytes.Buffer
	require.NoError(t, safetensors.Write(&file, sources, nil))
	return fstest.MapFS{"config.json": {Data: []byte(config)}, "model.safetensors": {Data: file.Bytes()}}
}
