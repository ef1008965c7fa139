package explore

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/nexttoken"
	"phi3/internal/openai"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// reportOf is what phi3 next-token says after a text. No engine may own the model.
func reportOf(t testing.TB, e *Explorer, ids []int32, o nexttoken.Options) *nexttoken.Report {
	t.Helper()
	m, err := loadDemo()
	require.NoError(t, err)
	r, err := nexttoken.New(t.Context(), m, e.Codec.Tokenizer, ids, o)
	require.NoError(t, err)
	return r
}

// someIDs is a text in which tokens occur again.
func someIDs(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(300 + i*i%91)
	}
	return ids
}

func body(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	return data
}

// wholeGrid is what the events of a grid say together.
type wholeGrid struct {
	start   LayersStart
	rows    [][]LensCell // [layers][positions]
	answers []LensAnswer
}

// readGrid computes a grid, and checks the order of its events.
func readGrid(t testing.TB, e *Explorer, r LayersRequest) (g wholeGrid) {
	t.Helper()
	known, done := map[int32]bool{}, false
	see := func(event any) error {
		l := event.(LayersEvent)
		require.False(t, done)
		switch {
		case l.Start != nil:
			require.Empty(t, g.rows)
			g.start, g.rows = *l.Start, make([][]LensCell, l.Start.Layers)
		case l.Tokens != nil:
			for _, token := range l.Tokens {
				require.False(t, known[token.ID])
				known[token.ID] = true
				require.Equal(t, e.token(token.ID), token)
			}
		case l.Row != nil:
			require.Equal(t, g.start.From+len(g.rows[l.Row.Layer]), l.Row.From)
			if l.Row.Layer > 0 {
				require.Len(t, g.rows[l.Row.Layer-1], len(g.rows[l.Row.Layer])+len(l.Row.Cells))
			}
			for _, cell := range l.Row.Cells {
				require.Len(t, cell.Top, 10)
				for _, top := range cell.Top {
					require.True(t, known[top.ID])
				}
			}
			g.rows[l.Row.Layer] = append(g.rows[l.Row.Layer], l.Row.Cells...)
		case l.Answer != nil:
			require.Equal(t, g.start.From+len(g.answers), l.Answer.From)
			for _, answer := range l.Answer.Answers {
				require.True(t, known[answer.ID])
			}
			g.answers = append(g.answers, l.Answer.Answers...)
			require.Len(t, g.rows[g.start.Layers-1], len(g.answers))
		default:
			require.True(t, l.Done)
			done = true
		}
		return nil
	}
	require.NoError(t, e.Layers(t.Context(), body(t, r), see))
	require.True(t, done)
	return g
}

// The grid says of each position what phi3 next-token --layers --json says of the text up to there.
func TestLayersAreThoseOfNextToken(t *testing.T) {
	for _, test := range []struct{ tokens, from, first int }{
		{1, 0, 0},
		{2, 1, 1},
		{20, 0, 0},
		{33, 0, 0},
		{70, 3, 3},
		{128, 0, 0},
		{129, 0, 1},
		{300, 0, 172},
		{300, 260, 260},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			ids := someIDs(test.tokens)
			var g wholeGrid
			parser := newParser(t)
			t.Run("grid", func(t *testing.T) {
				e := newExplorer(t, engine.Options{Parallel: 2, NoPrefixCache: true})
				g = readGrid(t, e, LayersRequest{ids, test.from})
				// The positions before the first one shown take long steps, and nobody looks into these.
				steps := (test.first+63)/64 + (test.tokens-test.first+31)/32
				require.Equal(t, steps, int(e.Engine.Stats().Steps))
			})
			require.Equal(t, LayersStart{test.first, test.tokens - test.first, 5}, g.start)
			require.Len(t, g.answers, test.tokens-test.first)
			for _, p := range []int{0, 1, 31, 32, 33, test.tokens - test.first - 1} {
				if p >= len(g.answers) {
					continue
				}
				report := reportOf(t, parser, ids[:test.first+p+1], nexttoken.Options{Top: 10, Layers: true})
				a := g.answers[p]
				require.Equal(t, report.Argmax.ID, a.ID)
				require.Len(t, a.Ranks, 5)
				require.Len(t, a.Probabilities, 5)
				for layer, want := range report.Layers {
					require.Equal(t, want.Answer.Rank, a.Ranks[layer])
					require.Equal(t, want.Answer.Probability, a.Probabilities[layer])
					compareTop(t, want.Top, g.rows[layer][p].Top)
				}
				compareTop(t, report.Top, g.rows[4][p].Top)
				require.InDelta(t, entropyOf(report.Logits), g.rows[4][p].Entropy, 1e-9)
			}
		})
	}
}

func compareTop(t *testing.T, want []nexttoken.Candidate, top []LensToken) {
	t.Helper()
	for i, candidate := range want {
		require.Equal(t, LensToken{candidate.ID, candidate.Logit, candidate.Probability}, top[i])
	}
}

// entropyOf follows the definition, -Σ p·ln p.
func entropyOf(logits []float32) (entropy float64) {
	total := 0.0
	for _, l := range logits {
		total += math.Exp(float64(l))
	}
	for _, l := range logits {
		p := math.Exp(float64(l)) / total
		entropy -= p * math.Log(p)
	}
	return entropy
}

// A client that goes away in the middle of a piece, or takes no events, leaves nothing behind.
func TestLayersCancelled(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 2, NoPrefixCache: true})
	ids := someIDs(200)
	want := readGrid(t, e, LayersRequest{IDs: ids})
	gone := errors.New("gone")
	for _, after := range []int{0, 1, 2, 5, 12} {
		events := 0
		err := e.Layers(t.Context(), body(t, LayersRequest{IDs: ids}), func(any) error {
			if events == after {
				return gone
			}
			events++
			return nil
		})
		require.ErrorIs(t, err, gone)
		require.Equal(t, after, events)

		ctx, cancel := context.WithCancel(t.Context())
		events = 0
		err = e.Layers(ctx, body(t, LayersRequest{IDs: ids}), func(any) error {
			if events++; events == after+1 {
				cancel()
			}
			return nil
		})
		cancel()
		if err != nil { // the engine may have finished before
			require.ErrorIs(t, err, context.Canceled)
		}
		require.Equal(t, want, readGrid(t, e, LayersRequest{IDs: ids}))
	}
	stats := e.Engine.Stats()
	require.Zero(t, stats.BlocksUsed)
	require.Zero(t, stats.Running+stats.Waiting)
}

// A client that takes no events holds up neither the engine nor other grids.
func TestLayersSlowClient(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 4, Queue: 100})
	ids := someIDs(128)
	const clients = mostGrids + 2
	blocked, resume, ended := make(chan bool), make(chan bool), make(chan error)
	for range clients {
		first := true
		go func() {
			ended <- e.Layers(t.Context(), body(t, LayersRequest{IDs: ids}), func(any) error {
				if first {
					first = false
					blocked <- true
					<-resume
				}
				return nil
			})
		}()
	}
	for range clients {
		<-blocked
	}
	readGrid(t, e, LayersRequest{IDs: ids})
	close(resume)
	for range clients {
		require.NoError(t, <-ended)
	}
}

// An end while other grids are computed does not wait for them.
func TestLayersWaiting(t *testing.T) {
	e := newExplorer(t, engine.Options{})
	for range mostGrids {
		e.grids <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := e.Layers(ctx, body(t, LayersRequest{IDs: someIDs(3)}),
		func(any) error { return errors.New("an event") })
	require.ErrorIs(t, err, context.Canceled)
	<-e.grids
	readGrid(t, e, LayersRequest{IDs: someIDs(3)})
	require.Len(t, e.grids, mostGrids-1)
}

// Requests of several views at once, and of ordinary texts, do not disturb each other.
func TestViewsTogether(t *testing.T) {
	e := newExplorer(t, engine.Options{Parallel: 4, Queue: 100})
	ids := someIDs(90)
	want := readGrid(t, e, LayersRequest{IDs: ids})
	attention, err := e.Attention(t.Context(), body(t, AttentionRequest{IDs: ids, Layer: 2}))
	require.NoError(t, err)
	contributions := body(t, ContributionsRequest{IDs: ids, Tokens: []int32{5}})
	contributed, err := e.Contributions(t.Context(), contributions)
	require.NoError(t, err)
	results := make(chan error)
	views := []func() error{
		func() error {
			if got := readGrid(t, e, LayersRequest{IDs: ids}); !assert.ObjectsAreEqual(want, got) {
				return errors.New("another grid")
			}
			return nil
		},
		func() error {
			got, err := e.Attention(t.Context(), body(t, AttentionRequest{IDs: ids, Layer: 2}))
			if err == nil && !assert.ObjectsAreEqual(attention, got) {
				return errors.New("another attention")
			}
			return err
		},
		func() error {
			got, err := e.Contributions(t.Context(), contributions)
			if err == nil && !assert.ObjectsAreEqual(contributed, got) {
				return errors.New("other contributions")
			}
			return err
		},
		func() (failed error) {
			r := engine.Request{IDs: ids[:9], MaxNewTokens: 30}
			for _, err := range e.Engine.Generate(t.Context(), r) {
				failed = err
			}
			return failed
		},
	}
	for range 4 {
		for _, view := range views {
			go func() { results <- view() }()
		}
	}
	for range 4 * len(views) {
		require.NoError(t, <-results)
	}
}

// The engine computes positions again whose blocks it has taken. The client sees each once.
func TestPiecesAgain(t *testing.T) {
	e := newParser(t)
	g := e.newGrid(10, 20)
	logits := func(first, n int) (values []float32) {
		for p := first; p < first+n; p++ {
			for id := range g.vocab {
				values = append(values, float32((id*7+p*13)%101))
			}
		}
		return values
	}
	counted := make(chan error)
	go func() { counted <- g.count() }()
	for _, step := range []struct{ first, n int }{{10, 4}, {10, 4}, {10, 3}, {13, 5}, {18, 2}} {
		<-g.free
		for layer := range g.layers {
			g.lens <- lens{step.first, layer, logits(step.first, step.n)}
		}
	}
	close(g.lens)
	require.NoError(t, <-counted)
	close(g.events)
	var positions []int
	for event := range g.events {
		if row := event.Row; row != nil && row.Layer == 2 {
			for i, cell := range row.Cells {
				p := row.From + i
				require.Equal(t, float32(100), cell.Top[0].Logit)
				require.Equal(t, 100, (int(cell.Top[0].ID)*7+p*13)%101)
				positions = append(positions, p)
			}
		}
	}
	require.Equal(t, []int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, positions)
}

// A damaged checkpoint: the error names the first layer with logits that are no numbers.
func TestLayersDamaged(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, randomckpt.Write(t.Context(), randomckpt.Options{
		Dir: dir, Format: weight.F32, Seed: 1, ShardBytes: 1 << 30,
		Config: []byte(`{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "vocab_size": 96,
			"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
			"eos_token_id": null, "bos_token_id": 1, "hidden_act": "silu", "rms_norm_eps": 1e-5,
			"rope_theta": 10000.0, "max_position_embeddings": 400, "original_max_position_embeddings": 400}`),
	}))
	backend, err := cpu.New(cpu.Options{Threads: 2})
	require.NoError(t, err)
	m, err := model.Load(t.Context(), os.DirFS(dir), &damaging{Backend: backend}, model.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	e := newParser(t)
	e.Config, e.Context = &m.Config, m.Context
	e.Engine = engine.New(m, engine.Options{})
	defer e.Engine.Close()
	rows := 0
	err = e.Layers(t.Context(), body(t, LayersRequest{IDs: []int32{1, 5, 7}}), func(event any) error {
		if event.(LayersEvent).Row != nil {
			rows++
		}
		return nil
	})
	require.ErrorContains(t, err, "After layer 2 the logits are not all numbers.")
	require.Equal(t, 2, rows)
	require.Zero(t, e.Engine.Stats().BlocksUsed)
}

// damaging makes a weight of the second layer NaN.
type damaging struct{ model.Backend }

func (d *damaging) Upload(t *weight.Tensor) (model.Weight, error) {
	if t.Name == "model.layers.1.mlp.down_proj.weight" {
		damaged := *t
		damaged.Data = slices.Clone(t.Data)
		binary.LittleEndian.PutUint32(damaged.Data, math.Float32bits(float32(math.NaN())))
		t = &damaged
	}
	return d.Backend.Upload(t)
}

// A model whose numbers overflow after a layer.
func TestLayersNotFinite(t *testing.T) {
	e := newParser(t)
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		g := e.newGrid(0, 2)
		logits := make([]float32, 2*g.vocab)
		logits[g.vocab+3] = float32(bad)
		g.lens <- lens{0, 0, make([]float32, 2*g.vocab)}
		g.lens <- lens{0, 1, logits}
		var e *openai.Error
		require.ErrorAs(t, g.count(), &e)
		require.Equal(t, "After layer 1 the logits are not all numbers. The checkpoint is damaged, or made "+
			"for wider numbers. phi3 generate says more.", e.Message)
	}
}
