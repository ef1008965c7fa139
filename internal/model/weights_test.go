package model

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

func TestLoadPlansAndReports(t *testing.T) {
	for _, config := range []string{
		tinyConfig,
		strings.Replace(tinyConfig, "{", `{"tie_word_embeddings": true, `, 1),
	} {
		b := &recorder{}
		var last, whole int64
		m, err := Load(context.Background(), tinyCheckpoint(t, config, nil), b,
			Options{Context: 100, MaxTokens: 2048, Progress: func(done, total int64) {
				require.Greater(t, done, last)
				last, whole = done, total
			}})
		require.NoError(t, err)
		require.Equal(t, m.WeightTotal().Bytes, last)
		require.Equal(t, m.WeightTotal().Bytes, whole)
		require.Len(t, b.uploaded, len(m.Config.Tensors()))
		require.Equal(t, b.uploaded, b.planned, "a backend knows beforehand what it will get")
		require.Equal(t, 100, b.maxTokens, "no step is longer than the context")
		require.Equal(t, 100, m.MaxTokens())
	}
}

func TestLoadStopsBetweenTensors(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := &recorder{}
	_, err := Load(ctx, tinyCheckpoint(t, tinyConfig, nil), b, Options{Progress: func(int64, int64) {
		if len(b.uploaded) == 3 {
			cancel() // as Ctrl-C does
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, b.uploaded, 3)
	require.Equal(t, []string{"Close"}, b.calls)
}

func TestLoadChecksTheTable(t *testing.T) {
	norm := "model.layers.1.post_attention_layernorm.weight"
	for _, c := range []struct {
		name, reason string
		change       func(map[string]*safetensors.Entry)
	}{
		{"missing", norm + " is missing", func(m map[string]*safetensors.Entry) { delete(m, norm) }},
		{
			"missing head", "lm_head.weight is missing",
			func(m map[string]*safetensors.Entry) { delete(m, "lm_head.weight") },
		},
		{
			"shape", "model.safetensors: tensor " + norm + " has shape [5], config.json asks for [4]",
			func(m map[string]*safetensors.Entry) { m[norm].Shape = []int{5} },
		},
		{
			"rank", "has shape [1 4], config.json asks for [4]",
			func(m map[string]*safetensors.Entry) { m[norm].Shape = []int{1, 4} },
		},
		{"float64", norm + " is stored as F64; BF16, F16 and F32 are supported: save the checkpoint again " +
			"in one of these", func(m map[string]*safetensors.Entry) { m[norm].Format = weight.F64 }},
		{
			"type", norm + " is stored as I8",
			func(m map[string]*safetensors.Entry) { m[norm].Format = weight.I8 },
		},
	} {
		b := &recorder{}
		_, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, c.change), b, Options{})
		require.ErrorContains(t, err, c.reason, c.name)
		require.Equal(t, []string{"Close"}, b.calls, "%s: the backend is closed and nothing else", c.name)
		require.Empty(t, b.planned, c.name)
	}
}

func TestLoadAcceptsOtherSpellings(t *testing.T) {
	rename := func(m map[string]*safetensors.Entry) { // a base checkpoint, without the "model." prefix
		for name, s := range m {
			s.Name = strings.TrimPrefix(name, "model.")
		}
	}
	m, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, rename), &recorder{}, Options{})
	require.NoError(t, err)
	require.Empty(t, m.Unused)

	b := &recorder{}
	// one too many, as transformers 5.24 reads it
	m, err = Load(context.Background(), tinyCheckpoint(t, tinyConfig, withPrefix("model.")), b, Options{})
	require.NoError(t, err)
	require.Empty(t, m.Unused)
	require.Contains(t, b.uploaded, "model.model.embed_tokens.weight")
	require.Contains(t, b.uploaded, "model.lm_head.weight")

	extra := func(m map[string]*safetensors.Entry) {
		for _, name := range []string{
			"model.layers.0.self_attn.rotary_emb.inv_freq",
			"model.layers.0.self_attn.q_norm.weight",
		} {
			m[name] = &safetensors.Entry{Name: name, Format: weight.F32, Shape: []int{2}}
		}
	}
	m, err = Load(context.Background(), tinyCheckpoint(t, tinyConfig, extra), &recorder{}, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"model.layers.0.self_attn.q_norm.weight"}, m.Unused,
		"rotary_emb.inv_freq is ignored silently")
}

// withPrefix puts a prefix in front of every tensor's name.
func withPrefix(prefix string) func(map[string]*safetensors.Entry) {
	return func(m map[string]*safetensors.Entry) {
		for name, s := range m {
			s.Name = prefix + name
		}
	}
}

// A model that was saved within another has names that begin otherwise; the error says which.
func TestForeignPrefix(t *testing.T) {
	const missing = "tensor model.embed_tokens.weight is missing from the checkpoint; there is "
	const notPhi = ": was the model saved inside another one? Phi-3's names do not begin with "
	for prefix, want := range map[string]string{
		"base_model.model.": missing +
			"base_model.model.model.embed_tokens.weight: was the adapter merged before it was saved?",
		"module.":      missing + "module.model.embed_tokens.weight" + notPhi + "module.",
		"model.model.": missing + "model.model.model.embed_tokens.weight" + notPhi + "model.model.",
		"x":            "tensor model.embed_tokens.weight is missing from the checkpoint",
	} {
		_, err := Load(context.Background(), tinyCheckpoint(t, tinyConfig, withPrefix(prefix)), &recorder{},
			Options{})
		require.EqualError(t, err, want)
	}
	norm := "model.layers.1.mlp.down_proj"
	_, err := Load(context.Background(),
		tinyCheckpoint(t, tinyConfig, func(m map[string]*safetensors.Entry) {
			m[norm+".weight"].Name = norm + ".base_layer.weight"
		}), &recorder{}, Options{})
	require.EqualError(t, err, "tensor "+norm+".weight is missing from the checkpoint; there is "+norm+
		".base_layer.weight: was the adapter merged before it was saved?")
}

// A classification head's bias stays on the host, under both names that it has had, and is added to every row
// of logits.
func TestTokenClassificationHead(t *testing.T) {
	config := strings.Replace(tinyConfig, "Phi3ForCausalLM", "Phi3ForTokenClassification", 1)
	config = strings.Replace(config, "{", `{"num_labels": 3, "tie_word_embeddings": true, `, 1)
	for _, prefix := range []string{"score.", "classifier."} {
		b := &recorder{}
		m, err := Load(context.Background(),
			tinyCheckpoint(t, config, func(m map[string]*safetensors.Entry) {
				for _, name := range []string{"weight", "bias"} {
					m["score."+name].Name = prefix + name
				}
				m["score.bias"].Format = weight.F32
			}), b, Options{})
		require.NoError(t, err)
		require.Empty(t, m.Unused)
		require.Contains(t, b.planned, prefix+"weight")
		require.NotContains(t, b.planned, prefix+"bias")
		require.Equal(t, b.planned, b.uploaded)
		require.Len(t, m.weights.HeadBias, 3)

		copy(m.weights.HeadBias, []float32{1, 2, 3}) // the recorder's logits are zeros
		cache := m.NewCache()
		_, err = cache.Prepare(leastLogitRows + 1)
		require.NoError(t, err)
		out := &Output{AllLogits: true}
		require.NoError(t, m.Forward(context.Background(),
			[]Sequence{{IDs: make([]int32, leastLogitRows+1), Cache: cache}}, out))
		require.Equal(t, slices.Repeat([]float32{1, 2, 3}, leastLogitRows+1), out.Logits)

		out.Greedy = true
		cache.Reset()
		_, err = cache.Prepare(1)
		require.NoError(t, err)
		err = m.Forward(context.Background(), []Sequence{{IDs: []int32{1}, Cache: cache}}, out)
		require.EqualError(t, err, "a Phi3ForTokenClassification has no next token")
	}
	_, err := Load(context.Background(),
		tinyCheckpoint(t, config, func(m map[string]*safetensors.Entry) { delete(m, "score.bias") }),
		&recorder{}, Options{})
	require.ErrorContains(t, err, "score.bias is missing")
}

// Where config.json says that the LM head is the embedding table, as transformers 5.15: one of the two
// tensors is enough, two equal ones are one, and two different ones are two, with a note.
func TestTiedEmbeddings(t *testing.T) {
	tied := strings.Replace(tinyConfig, "{", `{"tie_word_embeddings": true, `, 1)
	head := func(dtype weight.Format, last byte) func(map[string]*safetensors.Entry) {
		return func(m map[string]*safetensors.Entry) {
			m[headName] = &safetensors.Entry{
				Name: headName, Format: dtype, Shape: []int{5, 4},
				WriteTo: func(w io.Writer) error {
					_, err := w.Write(append(make([]byte, 20*dtype.Bits()/8-1), last))
					return err
				},
			}
		}
	}
	onlyHead := func(m map[string]*safetensors.Entry) {
		head(weight.BF16, 1)(m)
		delete(m, embedName)
	}
	for name, c := range map[string]struct {
		change      func(map[string]*safetensors.Entry)
		embed, head string
	}{
		"no head":                {nil, embedName, embedName},
		"the same":               {head(weight.BF16, 0), embedName, embedName},
		"the same, other type":   {head(weight.F32, 0), embedName, embedName},
		"differ":                 {head(weight.BF16, 1), embedName, headName},
		"differ, and in type":    {head(weight.F32, 1), embedName, headName},
		"only the head is there": {onlyHead, headName, headName},
	} {
		b := &recorder{}
		m, err := Load(context.Background(), tinyCheckpoint(t, tied, c.change), b, Options{})
		require.NoError(t, err, name)
		require.Empty(t, m.Unused, name)
		cache := m.NewCache()
		_, err = cache.Prepare(1)
		require.NoError(t, err)
		require.NoError(t, m.Forward(context.Background(), []Sequence{{IDs: []int32{1}, Cache: cache}},
			&Output{}))
		require.Equal(t, c.embed, m.weights.EmbedTokens.Data, name)
		require.Equal(t, "NormLinear "+c.head, b.calls[len(b.calls)-1], name)
		differ := c.embed != c.head
		require.Equal(t, differ, m.Config.HeadDiffers, name)
		require.Equal(t, !differ, m.Config.TiedEmbeddings, name)
		require.Equal(t, differ, len(m.Config.Notes) == 1, name)
	}
	_, err := Load(context.Background(), tinyCheckpoint(t, tied, func(m map[string]*safetensors.Entry) {
		m[headName] = &safetensors.Entry{Name: headName, Format: weight.BF16, Shape: []int{4, 4}}
	}), &recorder{}, Options{})
	require.ErrorContains(t, err, "tensor lm_head.weight has shape [4 4], config.json asks for [5 4]")
	_, err = Load(context.Background(), tinyCheckpoint(t, tinyConfig,
		func(m map[string]*safetensors.Entry) { delete(m, headName) }), &recorder{}, Options{})
	require.ErrorContains(t, err, "tensor lm_head.weight is missing from the checkpoint; if the LM head is "+
		"the embedding table, tie_word_embeddings in config.json must be true")
}
