// Package backendtest is the test that every backend must pass: whole models against Hugging Face's numbers,
// and the promise that logits are a function of the token ids alone, byte for byte. Each backend's own test
// file calls [Run].
package backendtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/classify"
	"phi3/internal/generate"
	"phi3/internal/inspect"
	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// Variant is a way to run a backend that must not change its results, such as a number of threads.
type Variant struct {
	Name string
	Open func(float32 bool) model.Backend // float32: round nothing
}

// Effort is how much computing a test may ask of a backend.
type Effort int

// The efforts. Both go through every checkpoint and every comparison.
const (
	Full Effort = iota
	// fewer lengths and repetitions, for what is many times slower than a processor: an emulator, the race
	// detector
	Short
)

// of picks a number.
func (e Effort) of(full, short int) int {
	if e == Short {
		return short
	}
	return full
}

// Run tests a backend against the goldens in testdata, in its first variant, and compares the other variants
// with that one.
func Run(t *testing.T, testdata string, variants []Variant, effort Effort) {
	goldens := Goldens(t, testdata)
	if slow {
		goldens = map[string]*Golden{"mini": goldens["mini"], "partial": goldens["partial"]}
		effort = Short
	}
	for name, g := range goldens {
		t.Run("float32/"+name, func(t *testing.T) { testFloat32(t, g, variants[0], effort) })
		t.Run("bits/"+name, func(t *testing.T) { testBits(t, g, variants, effort) })
	}
	t.Run("bfloat16", func(t *testing.T) { testBFloat16(t, goldens, variants[0]) })
	t.Run("inside", func(t *testing.T) { testInside(t, testdata, variants[0]) })
	t.Run("argmax", func(t *testing.T) { testArgmax(t, goldens["mini"], variants[0]) })
}

// RunOtherSums tests a backend once more that only adds in another order, such as an emulated GPU of another
// generation: the distances of every checkpoint, and the bits of those named.
func RunOtherSums(t *testing.T, testdata string, v Variant, names ...string) {
	goldens := Goldens(t, testdata)
	for _, name := range names {
		t.Run("bits/"+name, func(t *testing.T) { testBits(t, goldens[name], []Variant{v}, Short) })
	}
	t.Run("bfloat16", func(t *testing.T) { testBFloat16(t, goldens, v) })
}

// RunBits tests a checkpoint that no golden exists for, such as one with random weights: bits, and that the
// logits are near those of the path that rounds nothing.
func RunBits(t *testing.T, dir string, v Variant) {
	g := &Golden{Dir: dir}
	testBits(t, g, []Variant{v}, Short)
	m, exact := load(t, g, v, false, 0), load(t, g, v, true, 0)
	ids := randomIDs(m, kvcache.BlockTokens+9)
	require.Less(t, Distance(everyLogits(t, m, ids)[1:], everyLogits(t, exact, ids)[1:]), 0.02)
}

// load opens a model that closes when the test ends.
func load(t testing.TB, g *Golden, v Variant, float32 bool, maxTokens int) *model.Model {
	t.Helper()
	const room = 1024 // tokens of KV cache: for a batch, more than one sequence of the model's own context
	m, err := model.Load(context.Background(), g.FS(), v.Open(float32),
		model.Options{MaxTokens: maxTokens, Context: room, WideWindow: g.WideWindow})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	require.Empty(t, m.Unused)
	return m
}

// Trace is everything a forward pass shows: rows by position.
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
		var logits [][]float32
		s := generate.NewSession(m, noCache)
		s.Append(p.IDs...)
		var ids []int32
		for token, err := range s.Tokens(context.Background(),
			generate.Options{MaxNewTokens: tokens, Logits: true}) {
			require.NoError(t, err)
			ids = append(ids, token.ID)
			logits = append(logits, slices.Clone(token.Logits))
		}
		s.Close()
		sure := tokens
		for i, gap := range p.GreedyF32.Gaps[:tokens] {
			if gap < tie {
				sure = i
				break
			}
		}
		require.GreaterOrEqual(t, len(ids), sure)
		require.Equal(t, p.GreedyF32.IDs[:sure], ids[:sure], "%s, no cache: %v", p.Name, noCache)
		if want := p.Name + ".greedy_logits.f32"; g.Has(want) {
			for i, row := range g.Array(t, want)[:sure] {
				require.Less(t, Distance(logits[i:i+1], [][]float32{row}), 1e-4,
					"%s: logits of greedy step %d, no cache: %v", p.Name, i, noCache)
			}
		}
	}
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

// testBits compares bytes: the logits after every prefix must not depend on how the tokens before were fed.
func testBits(t *testing.T, g *Golden, variants []Variant, effort Effort) {
	m := load(t, g, variants[0], false, effort.of(0, 300))
	ids := randomIDs(m, min(2*kvcache.BlockTokens+5, m.Config.MaxPositions))
	want := everyLogits(t, m, ids)

	t.Run("uncached", func(t *testing.T) { testUncached(t, m, ids, want, effort) })
	t.Run("cached", func(t *testing.T) { // one token at a time, as in decode
		s := generate.NewSession(m, false)
		defer s.Close()
		for n := 1; n <= len(ids); n++ {
			if effort == Short &&
				!slices.ContainsFunc(lengths(len(ids), effort),
					func(l int) bool { return n <= l && l < n+3 }) {
				continue // the next call feeds this token and its neighbours at once
			}
			s.Append(ids[s.Len():n]...)
			logits, err := s.Logits(context.Background())
			require.NoError(t, err)
			requireSameBits(t, want[n], logits, "after %d tokens", n)
		}
	})
	t.Run("steps", func(t *testing.T) { testSteps(t, m, ids, want) })
	t.Run("chunks", func(t *testing.T) { // a prompt in pieces of every kind of size
		sizes, ns := []int{2, 7, 8, 9, 127, 128, 129, 300}, []int{9, 33, 65, 129, len(ids)}
		if effort == Short { // the small ones are among the steps above
			sizes, ns = []int{127, 129, 300}, ns[4:]
		}
		for _, chunk := range sizes {
			m := load(t, g, variants[0], false, chunk)
			for _, n := range ns {
				s := generate.NewSession(m, true)
				s.Append(ids[:n]...)
				logits, err := s.Logits(context.Background())
				require.NoError(t, err)
				requireSameBits(t, want[n], logits, "%d tokens in steps of %d", n, chunk)
				s.Close()
			}
		}
	})
	t.Run("batch", func(t *testing.T) { testBatch(t, m, ids, want, effort) })
	if crossing := m.Config.Crossing(); crossing > 0 {
		t.Run("crossing", func(t *testing.T) {
			testCrossing(t, load(t, g, variants[0], false, 4*(crossing+4)),
				ids, want, effort)
		})
	}
	t.Run("truncate", func(t *testing.T) { // back up and go on: as if the tail had never been there
		cache := m.NewCache()
		defer cache.Reset()
		rng := rand.New(rand.NewSource(7))
		for range effort.of(12, 3) {
			cache.Truncate(rng.Intn(len(ids)))
			n := lengths(len(ids), Full)[rng.Intn(len(lengths(len(ids), Full)))]
			cache.Truncate(n - 1)
			from, err := cache.Prepare(n)
			require.NoError(t, err)
			out := &model.Output{}
			for from < n {
				to := min(from+1+rng.Intn(m.MaxTokens()), n)
				require.NoError(t, m.Forward(context.Background(),
					[]model.Sequence{{IDs: ids[from:to], Cache: cache}}, out))
				from = to
			}
			requireSameBits(t, want[n], out.Logits, "%d tokens after truncation", n)
		}
	})
	if m.Config.Head == model.LMHead {
		t.Run("greedy", func(t *testing.T) { testChoice(t, m, ids, want) })
	}
	for _, v := range variants[1:] {
		t.Run(v.Name, func(t *testing.T) {
			m := load(t, g, v, false, 50)
			for n, logits := range everyLogits(t, m, ids) {
				requireSameBits(t, want[n], logits, "%d tokens", n)
			}
			testSteps(t, m, ids, want)
			if effort == Full {
				testUncached(t, m, ids, want, effort)
			}
		})
	}
}

// everyLogits are the logits after n tokens at index n, for n from 1 to len(ids), from passes that show all
// positions at once. The lengths up to the crossing of long RoPE, where all logits change, have a pass of
// their own.
func everyLogits(t testing.TB, m *model.Model, ids []int32) [][]float32 {
	t.Helper()
	want := [][]float32{nil}
	for _, total := range []int{min(m.Config.Crossing(), len(ids)), len(ids)} {
		cache := m.NewCache()
		_, logits := feed(t, m, cache, ids[:total], m.MaxTokens())
		cache.Reset()
		want = append(want, logits[min(len(want)-1, total):]...)
	}
	return want
}

// feed brings a cache to the given ids, in steps of the given size, and returns how many of them it held
// before, and the logits of every token after those.
func feed(
	t testing.TB, m *model.Model, cache *kvcache.Cache, ids []int32, chunk int,
) (from int, logits [][]float32) {
	t.Helper()
	from, err := cache.Prepare(len(ids))
	require.NoError(t, err)
	out := model.Output{AllLogits: true}
	for part := range slices.Chunk(ids[from:], chunk) {
		require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: part, Cache: cache}}, &out))
		for row := range slices.Chunk(out.Logits, m.Config.HeadRows()) {
			logits = append(logits, slices.Clone(row))
		}
	}
	return from, logits
}

// testUncached computes the logits of several lengths, each from nothing.
func testUncached(t *testing.T, m *model.Model, ids []int32, want [][]float32, effort Effort) {
	s := generate.NewSession(m, true)
	defer s.Close()
	for _, n := range lengths(len(ids), effort) {
		s.Append(ids[s.Len():n]...)
		logits, err := s.Logits(context.Background())
		require.NoError(t, err)
		requireSameBits(t, want[n], logits, "%d tokens", n)
	}
}

// testSteps feeds 1, 2, … 9, 1, 2, … tokens at a time: few tokens may take another way through a backend than
// many.
func testSteps(t *testing.T, m *model.Model, ids []int32, want [][]float32) {
	cache := m.NewCache()
	defer cache.Reset()
	for n, size := 0, 1; n < len(ids); size = size%9 + 1 {
		n = min(n+size, len(ids))
		from, logits := feed(t, m, cache, ids[:n], size)
		for i, row := range logits {
			if crossing := m.Config.Crossing(); n > crossing && from+i < crossing {
				continue // fed again with the other factors: no length's last token
			}
			requireSameBits(t, want[from+i+1], row, "%d tokens, the last in a step of %d", from+i+1, size)
		}
	}
}

// testBatch feeds several sequences in one step; each must get the logits it gets alone.
func testBatch(t *testing.T, m *model.Model, ids []int32, want [][]float32, effort Effort) {
	ns := lengths(len(ids), effort)
	caches := make([]*kvcache.Cache, 3)
	for i := range caches {
		caches[i] = m.NewCache()
		defer caches[i].Reset()
	}
	tail := 2
	for first := 0; first+3 <= len(ns); first += effort.of(1, 2) {
		tail = 5 - tail // 9 or 6 new tokens in all, many or few
		var batch []model.Sequence
		for i, c := range caches {
			n := ns[first+i]
			c.Reset()
			from, err := c.Prepare(n)
			require.NoError(t, err)
			for to := n - tail; from < to; { // all but the last few tokens go in alone
				step := min(to, from+m.MaxTokens())
				require.NoError(t, m.Forward(context.Background(),
					[]model.Sequence{{IDs: ids[from:step], Cache: c}}, nil))
				from = step
			}
			batch = append(batch, model.Sequence{IDs: ids[from:n], Cache: c})
		}
		out := &model.Output{}
		require.NoError(t, m.Forward(context.Background(), batch, out))
		for i := range batch {
			n := ns[first+i]
			requireSameBits(t, want[n], out.Logits[i*m.Config.HeadRows():(i+1)*m.Config.HeadRows()],
				"%d tokens in a batch of %v", n, ns[first:first+3])
		}
	}
}

// testChoice compares the tokens that the device chooses with the greatest logits.
func testChoice(t *testing.T, m *model.Model, ids []int32, want [][]float32) {
	cache := m.NewCache()
	defer cache.Reset()
	from, err := cache.Prepare(len(ids))
	require.NoError(t, err)
	out := &model.Output{Greedy: true, AllLogits: true}
	for part := range slices.Chunk(ids, m.MaxTokens()) {
		require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: part, Cache: cache}}, out))
		require.Len(t, out.Next, len(part))
		for _, next := range out.Next {
			if from++; from > m.Config.Crossing() {
				require.Equal(t, choice(want[from]), next, "after %d tokens", from)
			}
		}
	}

	const tokens = 10
	onDevice, err := generate.Run(context.Background(), m, ids[:5], generate.Options{MaxNewTokens: tokens})
	require.NoError(t, err)
	onHost, err := generate.Run(context.Background(), m, ids[:5],
		generate.Options{MaxNewTokens: tokens, Logits: true})
	require.NoError(t, err)
	require.Equal(t, onHost.IDs, onDevice.IDs)
	require.Len(t, onDevice.IDs, tokens)
}

// choice is what Argmax answers for a row of logits.
func choice(logits []float32) int32 {
	best := 0
	for id, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return int32(^id)
		}
		if l > logits[best] {
			best = id
		}
	}
	return int32(best)
}

// testArgmax looks for the greatest of rows that are hard to choose from. They travel to the device as a
// table of embeddings.
func testArgmax(t *testing.T, g *Golden, v Variant) {
	config, err := model.ReadConfig(g.FS())
	require.NoError(t, err)
	rng := rand.New(rand.NewSource(6))
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, cols := range []int{8, 1000, 1032, 32064} {
		var rows [][]float32
		row := func(fill func(row []float32)) {
			r := make([]float32, cols)
			for i := range r {
				r[i] = rng.Float32() - 2
			}
			fill(r)
			rows = append(rows, r)
		}
		last := cols - 1
		row(func([]float32) {})
		row(func(r []float32) { r[0] = 1 })
		row(func(r []float32) { r[last] = 1 })
		row(func(r []float32) { r[cols/2], r[last] = 1, 1 }) // a tie
		row(func(r []float32) { r[cols/2], r[cols/2-1], r[last-1] = 1, 1, 1 })
		row(func(r []float32) { r[3], r[5] = 0, float32(math.Copysign(0, -1)) }) // equal
		row(func(r []float32) { r[3], r[5] = float32(math.Copysign(0, -1)), 0 })
		row(func(r []float32) { clear(r) })
		row(func(r []float32) { // many ties
			for i := range r {
				r[i] = float32(rng.Intn(3))
			}
		})
		row(func(r []float32) { r[0] = nan })
		row(func(r []float32) { r[last] = nan })
		row(func(r []float32) { r[cols/2], r[2] = -inf, 1 })
		row(func(r []float32) { r[cols/2], r[last], r[last-1] = inf, nan, nan })
		row(func(r []float32) { r[cols/2], r[last] = nan, inf })

		table := &weight.Tensor{Name: "rows", Format: weight.F32, Shape: []int{len(rows), cols}}
		want, next, ids := make([]int32, len(rows)), make([]int32, len(rows)), make([]int32, len(rows))
		for i, r := range rows {
			want[i], next[i], ids[i] = choice(r), math.MinInt32, int32(i)
			for _, l := range r {
				table.Data = binary.LittleEndian.AppendUint32(table.Data, math.Float32bits(l))
			}
		}
		b := v.Open(true) // the table is not rounded either
		tensors := []*weight.Tensor{table}
		config.VocabSize = cols
		plan := &model.Plan{Config: config, Tensors: tensors, MaxTokens: 16, Context: 1, Least: 1}
		require.NoError(t, b.Plan(plan))
		w, err := b.Upload(table)
		require.NoError(t, err)
		x := plan.Logits.First(len(rows))
		b.Begin(&model.Step{IDs: ids})
		b.Embed(x, w)
		require.NoError(t, b.Argmax(next, x))
		require.Equal(t, want, next, "rows of %d", cols)
		require.NoError(t, b.Argmax(next[:1], x.First(1)))
		require.Equal(t, want, next)
		require.NoError(t, b.Close())
	}
}

// lengths are sequence lengths up to most at which something changes: steps of few tokens, blocks, chunks of
// keys, small windows, RoPE factors.
func lengths(most int, effort Effort) []int {
	const b = kvcache.BlockTokens
	all := []int{1, 2, 7, 8, 9, 32, 33, 64, 65, b - 1, b, b + 1, 2*b - 1, 2 * b, 2*b + 1, most}
	if effort == Short {
		all = []int{1, 8, 9, 33, 65, b, b + 1}
	}
	return slices.Compact(slices.DeleteFunc(all, func(n int) bool { return n > most }))
}

func randomIDs(m *model.Model, n int) []int32 {
	rng := rand.New(rand.NewSource(5))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.Intn(m.Config.VocabSize))
	}
	return ids
}

// requireSameBits compares float32 values by their bits: -0 is not 0, and NaN is itself.
func requireSameBits(t testing.TB, want, got []float32, format string, args ...any) {
	t.Helper()
	require.Len(t, got, len(want), format, args)
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			require.FailNow(t, "logits differ", "%s: logit %d is %g (%08x), not %g (%08x)",
				fmt.Sprintf(format, args...), i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}
