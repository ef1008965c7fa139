package explore

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/openai"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// loadDemo loads the built-in checkpoint. The model is never closed, because one engine after the other owns
// it.
var loadDemo = sync.OnceValues(func() (*model.Model, error) {
	backend, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		return nil, err
	}
	return model.Load(context.Background(), demo.FS(), backend, model.Options{Sequences: 4})
})

// newExplorer is an explorer of the built-in checkpoint.
func newExplorer(t testing.TB, o engine.Options) *Explorer {
	t.Helper()
	m, err := loadDemo()
	require.NoError(t, err)
	e := newParser(t)
	e.Engine = engine.New(m, o)
	t.Cleanup(e.Engine.Close)
	return e
}

// newParser is an explorer without an engine.
func newParser(t testing.TB) *Explorer {
	t.Helper()
	config, err := model.ReadConfig(demo.FS())
	require.NoError(t, err)
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	defaults, err := generate.ReadDefaults(demo.FS(), true)
	require.NoError(t, err)
	return New(&openai.Service{
		Codec: &text.Codec{Tokenizer: tok}, Config: config, Context: config.MaxPositions, Name: demo.Name,
		Defaults: defaults,
	}, "cpu")
}

func TestModel(t *testing.T) {
	e := newParser(t)
	about := e.Model()
	require.Equal(t, About{
		Name: "phi3-demo", Device: "cpu", Layers: 4, Heads: 2, KVHeads: 2, HiddenSize: 192, VocabSize: 2560,
		Context: 512, KVBytes: 3072, ChatTemplate: true, EOS: e.Config.EOS, MaxPositions: 128,
		Sampling: Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1},
	}, about)
}
