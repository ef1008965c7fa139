package perplexity

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/model"
)

// load loads a checkpoint of testdata in float32, so that only the order of sums differs from Hugging Face's.
func load(t *testing.T, name string, o model.Options, threads int) *model.Model {
	t.Helper()
	b, err := cpu.New(cpu.Options{Float32: true, Threads: threads})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), os.DirFS(filepath.Join("../../testdata", name)), b, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// The results are those that transformers computes (testdata/make_golden.py).
func TestAgainstHuggingFace(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var cases []struct {
		Checkpoint     string
		Window, Stride int
		IDs            []int32
		Guide          float64
		Scored         int
		Perplexity     float64
		NLL            float64
		NLLError       float64 `json:"nll_error"`
		Against        *struct {
			Checkpoint    string
			Perplexity    float64
			KL            float64
			KLError       float64 `json:"kl_error"`
			LargestKL     float64 `json:"largest_kl"`
			SameTop       float64 `json:"same_top"`
			RMSChange     float64 `json:"rms_change"`
			LargestChange float64 `json:"largest_change"`
		}
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Len(t, cases, 4)
	for _, c := range cases {
		m := load(t, c.Checkpoint, model.Options{}, 0)
		var reference *model.Model
		if c.Against != nil {
			reference = load(t, c.Against.Checkpoint, model.Options{}, 0)
		}
		r, err := Measure(context.Background(), m, reference, c.IDs,
			Options{Window: c.Window, Stride: c.Stride})
		require.NoError(t, err)
		require.Equal(t, len(c.IDs), r.Tokens)
		require.Equal(t, c.Scored, r.Scored)
		near := func(want, got float64) {
			t.Helper()
			require.InDelta(t, want, got, 1e-5*math.Max(math.Abs(want), 0.1))
		}
		near(c.NLL, r.NLL.Value)
		near(c.NLLError, r.NLL.Error)
		require.InEpsilon(t, c.Perplexity, r.Perplexity.Value, 1e-4)
		require.InEpsilon(t, c.Perplexity*c.NLLError, r.Perplexity.Error, 1e-4)
		require.InEpsilon(t, c.Guide, r.Perplexity.Value, 0.05, "the guide's weights are not exact")
		if c.Against == nil {
			require.Nil(t, r.Against)
			continue
		}
		require.InEpsilon(t, c.Against.Perplexity, r.Against.Perplexity.Value, 1e-4)
		near(c.Against.KL, r.Against.KL.Value)
		near(c.Against.KLError, r.Against.KL.Error)
		near(c.Against.LargestKL, r.Against.LargestKL)
		near(c.Against.SameTop, r.Against.SameTop.Value)
		near(c.Against.RMSChange, r.Against.RMSChange)
		near(c.Against.LargestChange, r.Against.LargestChange)
	}
}

// The report has the same bits for any number of threads and any size of the steps.
func TestSameBits(t *testing.T) {
	ids := make([]int32, 90)
	for i := range ids {
		ids[i] = int32(i * i % 131)
	}
	var first *Report
	for _, o := range []struct{ step, threads int }{{64, 1}, {64, 3}, {7, 2}, {1, 1}} {
		m := load(t, "f32", model.Options{MaxTokens: o.step, Context: 40}, o.threads)
		reference := load(t, "smallv", model.Options{MaxTokens: 2 * o.step, Context: 40}, 0)
		done := 0
		r, err := Measure(context.Background(), m, reference, ids, Options{
			Window: 40, Stride: 13, Threads: o.threads,
			Progress: func(n, total int) {
				require.Greater(t, n, done)
				done = n
				require.Equal(t, 2*(39+39+39+39+37), total)
			},
		})
		require.NoError(t, err)
		require.Equal(t, 2*(39+39+39+39+37), done)
		if first == nil {
			first = r
		}
		require.Equal(t, first, r)
	}
	require.NotZero(t, first.Against.KL.Value)

	// A model is at no distance from itself.
	m := load(t, "f32", model.Options{}, 0)
	r, err := Measure(context.Background(), m, m, ids, Options{Window: 40, Stride: 13})
	require.NoError(t, err)
	require.Equal(t, first.Perplexity, r.Perplexity)
	require.Equal(t, &Comparison{Perplexity: r.Perplexity, SameTop: Estimate{Value: 1}}, r.Against)
}

func TestWindows(t *testing.T) {
	require.Equal(t, []window{{0, 1, 4}, {2, 4, 6}, {4, 6, 8}, {6, 8, 10}}, slices.Collect(windows(10, 4, 2)),
		"the picture in doc.go")
	require.Equal(t, []window{{0, 1, 5}}, slices.Collect(windows(5, 8, 4)), "one window holds the text")
	require.Equal(t, []window{{0, 1, 4}, {4, 5, 8}}, slices.Collect(windows(9, 4, 4)),
		"the last window would have one token, and nothing to score")
	for n := 2; n < 20; n++ {
		for size := 2; size < n+3; size++ {
			for stride := 1; stride <= size; stride++ {
				counted := make([]int, n)
				for w := range windows(n, size, stride) {
					require.LessOrEqual(t, w.end-w.begin, size)
					require.Zero(t, w.begin%stride)
					for i := w.first; i < w.end; i++ {
						require.Greater(t, i, w.begin, "a token without context")
						counted[i]++
						require.True(t, w.begin == 0 || i-w.begin >= size-stride, "too little context")
					}
				}
				for i := range counted {
					want := 1
					if i == 0 || stride == size && i%size == 0 {
						want = 0
					}
					require.Equal(t, want, counted[i], "token %d of %d, window %d, stride %d", i, n, size,
						stride)
				}
			}
		}
	}
}

func TestScoreOfOneToken(t *testing.T) {
	log := func(x float64) float32 { return float32(math.Log(x)) }
	const rounding = 1e-7
	uniform := row(make([]float32, 50), nil, 7)
	require.InDelta(t, math.Log(50), uniform.nll, rounding, "every token of 50 is as probable")

	// p = ¼ ¾, q = ½ ½
	s := row([]float32{log(1) + 100, log(3) + 100}, []float32{-3, -3}, 1)
	require.InDelta(t, -math.Log(0.75), s.nll, 1e-5)
	require.InDelta(t, math.Log(2), s.reference, rounding)
	require.InDelta(t, math.Log(4.0/3)/2, s.kl, 1e-5)
	require.False(t, s.same, "a tie goes to the lowest id")
	require.True(t, row([]float32{1, 2}, []float32{3, 4}, 0).same)

	// Far apart: q is certain of what p finds nearly impossible.
	s = row([]float32{0, 1000}, []float32{1000, 0}, 0)
	require.InDelta(t, 1000, s.nll, rounding)
	require.InDelta(t, 0, s.reference, rounding)
	require.InDelta(t, 1000, s.kl, rounding)

	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		require.True(t, math.IsNaN(row([]float32{1, bad, 2}, nil, 0).nll))
		require.True(t, math.IsNaN(row([]float32{1, bad, 2}, []float32{1, 2, 3}, 0).nll))
		require.True(t, math.IsNaN(row([]float32{1, 2, 3}, []float32{1, bad, 2}, 0).nll))
	}
}

func TestStandardErrors(t *testing.T) {
	var s sums
	for _, p := range []float64{0.5, 0.125, 0.5, 0.125} {
		s.add(score{nll: -math.Log(p), reference: -math.Log(0.25), kl: p, same: p == 0.5})
	}
	var r Report
	s.report(&r, true)
	// logarithms 1 and 3, in units of log 2: mean 2, and the deviation 1 from it divided by √3
	near := func(want, got float64) { t.Helper(); require.InDelta(t, want, got, 1e-12) }
	near(4, r.Perplexity.Value)
	near(math.Ln2/math.Sqrt(3), r.NLL.Error)
	near(4*math.Ln2/math.Sqrt(3), r.Perplexity.Error)
	near(0.3125, r.Against.KL.Value)
	near(0.1875/math.Sqrt(3), r.Against.KL.Error)
	near(0.5, r.Against.LargestKL)
	near(0.5, r.Against.SameTop.Value)
	near(0.25, r.Against.LargestChange)
	near(math.Sqrt((0.25*0.25+0.125*0.125)/2), r.Against.RMSChange)

	var table strings.Builder
	require.NoError(t, r.Write(&table, "ref"))
	require.Contains(t, table.String(), "perplexity                         4 ± 1.6008\n")
	require.Contains(t, table.String(), "perplexity of ref                  4 ± 0\n")
	require.Contains(t, table.String(), "same most probable token           50.000% ± 28.868%\n")
	require.Contains(t, table.String(), "19.764% (root mean square), at most +25.000%\n")
}

func TestRefusals(t *testing.T) {
	m := load(t, "f32", model.Options{Context: 32}, 0)
	measure := func(reference *model.Model, n int, o Options) error {
		_, err := Measure(context.Background(), m, reference, make([]int32, n), o)
		return err
	}
	require.ErrorContains(t, measure(nil, 1, Options{Window: 8, Stride: 4}), "fewer than 2 tokens")
	require.ErrorContains(t, measure(nil, 9, Options{Window: 8, Stride: 9}), "a window of 8 tokens every 9")
	require.ErrorContains(t, measure(nil, 9, Options{Window: 1, Stride: 1}), "a window of 1 tokens")
	require.ErrorContains(t, measure(load(t, "longrope", model.Options{}, 0), 9,
		Options{Window: 8, Stride: 4}), "the model has a vocabulary of 131 and the reference one of 320")
	var tooLong *model.TooLongError
	require.ErrorAs(t, measure(nil, 40, Options{Window: 40, Stride: 4}), &tooLong)

	ctx, cancel := context.WithCancel(context.Background())
	_, err := Measure(ctx, m, nil, make([]int32, 40), Options{
		Window: 8, Stride: 4, Progress: func(int, int) { cancel() },
	})
	require.ErrorIs(t, err, context.Canceled)
}
