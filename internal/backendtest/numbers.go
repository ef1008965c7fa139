package backendtest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/classify"
	"phi3/internal/engine"
	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// Trace is everything that a forward pass computes for each position.
type Trace struct {
	// [layers+1][position][hidden], Hugging Face's hidden_states: the last entry is after the final norm
	Hidden [][][]float32
	Logits [][]float32 // [position][vocab or labels]
}

// Forward runs ids through the model in one go, or in steps of the given size, and keeps everything.
func Forward(t testing.TB, m *model.Model, ids []int32, chunk int) Trace {
	t.Helper()
	c := &m.Config
	trace := Trace{Hidden: make([][][]float32, c.Layers+1)}
	cache := m.NewCache()
	defer cache.Reset()
	_, err := cache.Prepare(len(ids))
	require.NoError(t, err)
	out := model.Output{AllLogits: true, AllHidden: true}
	defer inspect.EachLayer(m, func(layer int, x []float32) {
		if layer < c.Layers { // Hugging Face does not show the last layer's output before the norm
			for row := range slices.Chunk(x, c.HiddenSize) {
				trace.Hidden[layer] = append(trace.Hidden[layer], slices.Clone(row))
			}
		}
	})()
	for part := range slices.Chunk(ids, chunk) {
		require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: part, Cache: cache}}, &out))
		for row := range slices.Chunk(out.Hidden, c.HiddenSize) {
			trace.Hidden[c.Layers] = append(trace.Hidden[c.Layers], slices.Clone(row))
		}
		for row := range slices.Chunk(out.Logits, c.HeadRows()) {
			trace.Logits = append(trace.Logits, slices.Clone(row))
		}
	}
	require.Equal(t, len(ids), cache.Len())
	return trace
}

// at picks the rows of the golden's positions, layer after layer.
func at(layers [][][]float32, positions []int) [][]float32 {
	var rows [][]float32
	for _, layer := range layers {
		for _, p := range positions {
			rows = append(rows, layer[p])
		}
	}
	return rows
}

// testFloat32 compares the path that rounds nothing with Hugging Face's float32 run: hidden states, logits,
// greedy tokens.
func testFloat32(t *testing.T, g *Golden, v Variant, effort Effort) {
	m := load(t, g, v, true, 0)
	for _, p := range g.Prompts {
		got := Forward(t, m, p.IDs, m.MaxTokens())
		hidden, logits := g.Array(t, p.Name+".hidden.f32"), g.Array(t, p.Name+".logits.f32")
		gotHidden, gotLogits := at(got.Hidden, p.Positions), at([][][]float32{got.Logits}, p.Positions)
		require.Len(t, gotHidden, len(hidden))
		require.Len(t, gotLogits, len(logits))
		// Each row by itself: one wrong row must not hide among good ones.
		for i := range hidden {
			require.Less(t, Distance(gotHidden[i:i+1], hidden[i:i+1]), 1e-4,
				"%s: hidden state %d of layer %d", p.Name, i%len(p.Positions), i/len(p.Positions))
		}
		for i := range logits {
			require.Less(t, Distance(gotLogits[i:i+1], logits[i:i+1]), 1e-4, "%s: logits at position %d",
				p.Name, p.Positions[i])
		}
		if m.Config.Head == model.LMHead {
			testGreedy(t, m, g, p, effort)
		}
	}
	if m.Config.Head != model.LMHead {
		testLabels(t, m, g)
	}
}

// testGreedy compares a greedy continuation, with the KV cache and without, and the logits of each of its
// steps, up to the first whose two best candidates lie so close that either may win.
func testGreedy(t *testing.T, m *model.Model, g *Golden, p Prompt, effort Effort) {
	t.Helper()
	const tie = 1e-3
	for _, noCache := range []bool{false, true} {
		tokens := len(p.GreedyF32.IDs)
		if noCache {
			tokens = effort.of(tokens, 3)
		}
		seen := &recorder{}
		r, err := engine.Run(context.Background(), m,
			engine.Request{IDs: p.IDs, MaxNewTokens: tokens, NoCache: noCache, Sampler: seen})
		require.NoError(t, err)
		sure := tokens
		for i, gap := range p.GreedyF32.Gaps[:tokens] {
			if gap < tie {
				sure = i
				break
			}
		}
		require.GreaterOrEqual(t, len(r.IDs), sure)
		require.Equal(t, p.GreedyF32.IDs[:sure], r.IDs[:sure], "%s, no cache: %v", p.Name, noCache)
		if want := p.Name + ".greedy_logits.f32"; g.Has(want) {
			for i, row := range g.Array(t, want)[:sure] {
				require.Less(t, Distance(seen.logits[i:i+1], [][]float32{row}), 1e-4,
					"%s: logits of greedy step %d, no cache: %v", p.Name, i, noCache)
			}
		}
	}
}

// recorder is a sampler that chooses the most probable token on the host, and keeps the logits.
type recorder struct{ logits [][]float32 }

func (r *recorder) Sample(logits []float32, _ []int32) (int32, error) {
	r.logits = append(r.logits, slices.Clone(logits))
	return sampling.Greedy(logits), nil
}

// testLabels compares what a classification head says of whole texts: of the golden prompts the pooled
// logits, those of padding at the end among them, and of real texts what transformers' pipeline prints.
func testLabels(t *testing.T, m *model.Model, g *Golden) {
	t.Helper()
	c := m.Config
	for _, p := range g.Prompts {
		rows, err := classify.Logits(context.Background(), m, p.IDs)
		require.NoError(t, err)
		want := g.Array(t, p.Name+".logits.f32")
		if c.Head == model.SequenceHead {
			want = want[p.Pooled : p.Pooled+1]
		}
		require.Len(t, rows, len(want), p.Name)
		require.Less(t, Distance(rows, want), 1e-4, p.Name)
	}
	require.NotEmpty(t, g.Texts)
	for _, text := range g.Texts {
		rows, err := classify.Logits(context.Background(), m, text.IDs)
		require.NoError(t, err)
		for problem, want := range text.Scores {
			c.ProblemType = problem
			for i, score := range classify.Scores(&c, rows[0]) {
				require.InDelta(t, want[c.Labels[i]], score, 1e-5, "%q as %s: %s", text.Text, problem,
					c.Labels[i])
			}
		}
		for i, want := range text.Tokens {
			scores := classify.Scores(&c, rows[i])
			require.InDelta(t, want.Score, slices.Max(scores), 1e-5, "%q: token %d", text.Text, i)
			require.Equal(t, want.Label, c.Labels[slices.Index(scores, slices.Max(scores))])
		}
	}
}

// testBFloat16 asserts the quality claim: our default path is at least as near to the float32 truth as
// Hugging Face's own bfloat16 run, in every checkpoint. Its log is the table of distances in
// docs/exactness.md.
func testBFloat16(t *testing.T, goldens map[string]*Golden, v Variant) {
	var table strings.Builder
	table.WriteString("| checkpoint | hidden states, relative L2: phi3 | transformers | logits, relative " +
		"L2: phi3 | transformers | logits, largest: phi3 | transformers | KL divergence: phi3 | " +
		"transformers |\n")
	table.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(goldens)) {
		t.Run(name, func(t *testing.T) {
			g := goldens[name]
			m := load(t, g, v, false, 0)
			type rows struct{ ours, theirs, truth [][]float32 }
			var hidden, logits rows
			for _, p := range g.Prompts {
				got := Forward(t, m, p.IDs, m.MaxTokens())
				hidden.ours = append(hidden.ours, at(got.Hidden, p.Positions)...)
				hidden.theirs = append(hidden.theirs, g.Array(t, p.Name+".hidden.bf16")...)
				hidden.truth = append(hidden.truth, g.Array(t, p.Name+".hidden.f32")...)
				logits.ours = append(logits.ours, at([][][]float32{got.Logits}, p.Positions)...)
				logits.theirs = append(logits.theirs, g.Array(t, p.Name+".logits.bf16")...)
				logits.truth = append(logits.truth, g.Array(t, p.Name+".logits.f32")...)
			}
			fmt.Fprintf(&table, "| %s |", name)
			for _, c := range []struct {
				what     string
				rows     rows
				distance func(got, want [][]float32) float64
			}{
				{"hidden states, relative L2", hidden, Distance},
				{"logits, relative L2", logits, Distance},
				{"logits, largest difference", logits, largest},
				{"Kullback-Leibler divergence", logits, divergence},
			} {
				our, their := c.distance(c.rows.ours, c.rows.truth), c.distance(c.rows.theirs, c.rows.truth)
				fmt.Fprintf(&table, " %.2g | %.2g |", our, their)
				require.LessOrEqual(t, our, their, c.what)
			}
			table.WriteString("\n")
			require.Less(t, Distance(logits.ours, logits.truth), 0.05,
				"far from the truth in absolute terms too")
		})
	}
	t.Logf("distance to a float32 run:\n%s", table.String())
}

// Distance is the relative L2 distance of got to want over all rows: |got - want| / |want|.
func Distance(got, want [][]float32) float64 {
	var diff, norm float64
	for i, row := range want {
		for j, w := range row {
			d := float64(got[i][j]) - float64(w)
			diff += d * d
			norm += float64(w) * float64(w)
		}
	}
	return math.Sqrt(diff / norm)
}

// largest is the largest difference of any element.
func largest(got, want [][]float32) (most float64) {
	for i, row := range want {
		for j, w := range row {
			most = max(most, math.Abs(float64(got[i][j])-float64(w)))
		}
	}
	return most
}

// divergence is the mean Kullback-Leibler divergence of softmax(got) from softmax(want), in nats.
func divergence(got, want [][]float32) float64 {
	var sum float64
	for i := range want {
		p, q := logSoftmax(want[i]), logSoftmax(got[i])
		for j := range p {
			sum += math.Exp(p[j]) * (p[j] - q[j])
		}
	}
	return sum / float64(len(want))
}

func logSoftmax(logits []float32) []float64 {
	top := float64(slices.Max(logits))
	var total float64
	for _, l := range logits {
		total += math.Exp(float64(l) - top)
	}
	logs := make([]float64, len(logits))
	for i, l := range logits {
		logs[i] = float64(l) - top - math.Log(total)
	}
	return logs
}
