package verify

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/backendtest"
	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/model"
	"phi3/internal/safetensors"
	"phi3/internal/sampling"
)

func configOf(t testing.TB, fsys fs.FS) *model.Config {
	t.Helper()
	c, err := model.ReadConfig(fsys)
	require.NoError(t, err)
	return c
}

// verifyOn runs Run on the CPU.
func verifyOn(t testing.TB, fsys fs.FS, dtype string, fixtures ...Fixture) *Report {
	t.Helper()
	open := 0
	report, err := Run(context.Background(), Options{
		Fixtures: fixtures, Checkpoint: fsys, DType: dtype,
		Open: func(ctx context.Context, float32 bool) (*model.Model, error) {
			open++
			b, err := cpu.New(cpu.Options{Float32: float32})
			require.NoError(t, err)
			return model.Load(ctx, fsys, b, model.Options{Context: Context})
		},
	})
	require.NoError(t, err)
	if dtype == "" {
		require.Equal(t, 2, open)
	} else {
		require.Equal(t, 1, open)
	}
	_, err = json.Marshal(report)
	require.NoError(t, err)
	return report
}

func failures(r *Report) (list []string) {
	for _, r := range r.Results {
		if !r.Passed {
			list = append(list, r.Check+", "+r.DType)
		}
	}
	return list
}

// Every golden checkpoint passes its own fixture.
func TestGoldensPass(t *testing.T) {
	for name, g := range backendtest.Goldens(t, "../../testdata") {
		if len(g.Texts) > 0 || g.WideWindow {
			// fixtures are of models that continue texts, as they run without --sliding-window-compat
			continue
		}
		t.Run(name, func(t *testing.T) {
			f := fixtureOf(t, name, g)
			report := verifyOn(t, g.FS(), "", f)
			require.Empty(t, failures(report))
			require.True(t, report.Passed)
			require.Equal(t, name, report.Checkpoint)
			require.Equal(t, "golden", report.Release)
			require.Len(t, report.Results, 1+len(f.Releases[0].Checks)+3)

			one := verifyOn(t, g.FS(), "bf16", f)
			require.True(t, one.Passed)
			require.Len(t, one.Results, 1+len(f.Releases[0].Checks)*3/5+1)
		})
	}
}

// mutate copies a checkpoint of one file, a tensor's element changed.
func mutate(t testing.TB, dir, tensor string, change func(data []byte)) fs.FS {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	file := filepath.Join(to, "model.safetensors")
	f, err := safetensors.ReadFile(os.DirFS(to), "model.safetensors")
	require.NoError(t, err)
	x, ok := f.Tensor(tensor)
	require.True(t, ok)
	data := append([]byte{}, x.Data...)
	all, err := os.ReadFile(file)
	require.NoError(t, err)
	at := strings.Index(string(all), string(data))
	require.Positive(t, at)
	require.NoError(t, f.Close())
	change(all[at : at+len(data)])
	require.NoError(t, os.WriteFile(file, all, 0o644))
	return os.DirFS(to)
}

// zero changes the least: one weight of a bfloat16 matrix's 12,288.
func zero(data []byte) { data[100], data[101] = 0, 0 }

// A single weight of no special place that has become 0 shows in the strict logits, though in hardly anything
// else.
func TestOneWrongWeightFails(t *testing.T) {
	g := backendtest.Goldens(t, "../../testdata")["medium"]
	f := fixtureOf(t, "medium", g)
	for _, tensor := range []string{
		"model.layers.1.self_attn.o_proj.weight",
		"model.layers.2.mlp.down_proj.weight", "model.layers.0.self_attn.qkv_proj.weight", "lm_head.weight",
	} {
		report := verifyOn(t, mutate(t, g.Dir, tensor, zero), "", f)
		require.False(t, report.Passed)
		require.Contains(t, strings.Join(failures(report), "\n"), "logits, 2 × 30 values, f32", tensor)
		require.Equal(t, "golden", report.Release, "it still is what it was")
	}
}

// A NaN weight is a failure, not a table of NaN.
func TestNaNFails(t *testing.T) {
	g := backendtest.Goldens(t, "../../testdata")["medium"]
	nan := func(data []byte) { data[0], data[1] = 0xff, 0x7f }
	report := verifyOn(t, mutate(t, g.Dir, "model.norm.weight", nan), "", fixtureOf(t, "medium", g))
	require.Empty(t, report.Release)
	for _, r := range report.Results {
		require.False(t, r.Passed, r.Check)
	}
	require.Contains(t, report.Results[1].Got, "NaN")
}

// Of two releases the nearer one is recognized, by either run; weights that are neither are said to be
// neither, and compared with neither.
func TestReleases(t *testing.T) {
	g := backendtest.Goldens(t, "../../testdata")["medium"]
	first := fixtureOf(t, "medium", g)
	second := first.Releases[0]
	second.Name = "second"
	second.Checks = append([]Check{}, second.Checks...)
	for i, c := range second.Checks { // logits of weights whose final norm is twice as large: twice as large
		second.Checks[i].Rows = scaled(c.Rows, 2)
	}
	first.Releases = []Release{second, first.Releases[0]}
	double := func(data []byte) {
		// the exponent begins in the high byte's lowest 7 bits and goes on in the low byte's highest
		for i := 0; i < len(data); i += 2 {
			bits := uint16(data[i]) | uint16(data[i+1])<<8
			bits += 1 << 7
			data[i], data[i+1] = byte(bits), byte(bits>>8)
		}
	}
	doubled := mutate(t, g.Dir, "model.norm.weight", double)
	for _, dtype := range []string{"f32", "bf16"} {
		require.Equal(t, "golden", verifyOn(t, g.FS(), dtype, first).Release)
		report := verifyOn(t, doubled, dtype, first)
		require.Equal(t, "second", report.Release)
		require.Equal(t, "second or golden", report.Results[0].Expected)
		if dtype == "f32" {
			require.Empty(t, failures(report))
		}
	}

	first.Releases = first.Releases[:1]
	report := verifyOn(t, g.FS(), "", first)
	require.Empty(t, report.Release)
	require.Equal(t, []string{"which release the weights are, f32"}, failures(report))
	require.Equal(t, "others: fine-tuned, broken?", report.Results[0].Got)
	require.Len(t, report.Results, 1+3)
}

func scaled(rows [][]float64, by float64) (out [][]float64) {
	for _, row := range rows {
		var values []float64
		for _, v := range row {
			values = append(values, v*by)
		}
		out = append(out, values)
	}
	return out
}

// Each kind of check fails when what it expects is another thing, and only that one.
func TestEachCheckFails(t *testing.T) {
	fixtures, err := Fixtures()
	require.NoError(t, err)
	require.Empty(t, failures(verifyOn(t, demo.FS(), "", fixtures...)))
	f := fixtures[0]
	require.Equal(t, "phi3-demo", f.Checkpoint)
	for i, c := range f.Releases[0].Checks {
		if i == 0 {
			continue // that one is asked which release it is
		}
		wrong := f
		wrong.Releases = []Release{{Name: "wrong", Checks: append([]Check{}, f.Releases[0].Checks...)}}
		w := &wrong.Releases[0].Checks[i]
		switch c.Kind {
		case Tokens:
			w.IDs = append(append([]int32{}, c.IDs...), 5)
		case Logits:
			w.Rows = scaled(c.Rows, 1.005)
		case Hidden:
			w.Rows = scaled(c.Rows, 1.2)
		case Next:
			w.Expect = []int32{7}
		case Greedy:
			w.Expect = append([]int32{}, c.Expect...)
			w.Expect[len(c.Expect)-1] = 7
		}
		report := verifyOn(t, demo.FS(), "", wrong)
		require.Len(t, failures(report), 1, "%s %s: %v", c.Kind, c.Name, failures(report))
		require.Contains(t, failures(report)[0], strings.Split(c.Name, ":")[0])
	}
}

// Without a tokenizer, the checks that need one fail and say so; the others go on.
func TestNoTokenizer(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, demo.FS()))
	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	fixtures, err := Fixtures()
	require.NoError(t, err)
	report := verifyOn(t, os.DirFS(dir), "", fixtures...)
	require.Len(t, failures(report), 3)
	for _, r := range report.Results {
		if !r.Passed {
			require.Contains(t, r.Check, ": ids")
			require.Contains(t, r.Got, "tokenizer.json")
		}
	}
}

// The second best token is a near tie in bfloat16, and in float32 a mistake, if it is one step of bfloat16
// below.
func TestNearTies(t *testing.T) {
	fixtures, err := Fixtures()
	require.NoError(t, err)
	for _, dtype := range []string{"f32", "bf16"} {
		f := fixtures[0]
		f.Releases = []Release{{Name: "second best", Checks: append([]Check{}, f.Releases[0].Checks...)}}
		for i := range f.Releases[0].Checks {
			c := &f.Releases[0].Checks[i]
			if c.Kind != Greedy || c.Name != "capital" {
				continue
			}
			const step = 2 // where the first two logits are 0.13 apart
			b, err := cpu.New(cpu.Options{Float32: true})
			require.NoError(t, err)
			m, err := model.Load(context.Background(), demo.FS(), b, model.Options{Context: Context})
			require.NoError(t, err)
			all, _, err := forward(context.Background(), m,
				append(append([]int32{}, c.IDs...), c.Expect[:step]...))
			require.NoError(t, err)
			require.NoError(t, m.Close())
			last := all[len(all)-1]
			best := sampling.Greedy(last)
			require.Equal(t, c.Expect[step], best)
			gap := last[best]
			last[best] = -100
			second := sampling.Greedy(last)
			off := steps(gap, last[second])
			require.True(t, off > nearTieF32 && off < nearTieBF16, "%g steps", off)
			c.IDs = append(append([]int32{}, c.IDs...), c.Expect[:step]...)
			c.Expect = []int32{second}
		}
		failed := failures(verifyOn(t, demo.FS(), dtype, f))
		if dtype == "f32" {
			require.Equal(t, []string{"capital: 1 greedy tokens, f32"}, failed)
		} else {
			require.Empty(t, failed)
		}
	}
}

// bfloat16's choices may be float32's second, or a near tie; a third that is far is a failure, and so is a
// row that points elsewhere.
func TestSelfResult(t *testing.T) {
	exact := logits{{20, 19, 18, 10}}
	verdict := func(rounded ...float32) bool {
		r := run{}
		require.NoError(t, r.add(selfResult(exact, logits{rounded})))
		return r.report.Results[0].Passed
	}
	require.True(t, verdict(20, 19, 18, 10))
	require.True(t, verdict(19, 19.1, 18, 10))
	require.False(t, verdict(19, 19, 19.1, 10), "18 is 16 steps below 20")
	require.False(t, verdict(20, 19, 10, 18), "another direction")
	exact = logits{{20, 19.9, 19.8, 10}}
	require.True(t, verdict(19.8, 19.7, 19.9, 10), "a near tie of three")
}

// unsteady is a backend whose logits depend on how many tokens a step has.
type unsteady struct{ *cpu.Backend }

func (u unsteady) Read(dst []float32, x model.Matrix) error {
	err := u.Backend.Read(dst, x)
	if x.Rows == 1 && len(dst) > 0 {
		dst[0] = math.Nextafter32(dst[0], 100)
	}
	return err
}

// Logits that differ in a last bit between prefill and decode are found.
func TestUnsteadyFails(t *testing.T) {
	fsys := os.DirFS("../../testdata/mini")
	report, err := Run(context.Background(), Options{
		Checkpoint: fsys, DType: "bf16",
		Open: func(ctx context.Context, float32 bool) (*model.Model, error) {
			b, err := cpu.New(cpu.Options{Float32: float32})
			require.NoError(t, err)
			return model.Load(ctx, fsys, unsteady{b}, model.Options{Context: Context})
		},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"token by token and at once, bf16"}, failures(report))
	require.InDelta(t, 12, report.Results[0].Distance[0].Value, 0, "one of each step")
	require.Equal(t, "others", report.Results[0].Got)
}

// What cannot be done is an error and no result.
func TestErrors(t *testing.T) {
	boom := errors.New("boom")
	_, err := Run(context.Background(), Options{Open: func(context.Context, bool) (*model.Model,
		error,
	) {
		return nil, boom
	}})
	require.ErrorIs(t, err, boom)

	fixtures, err := Fixtures()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{
		Fixtures: fixtures, Checkpoint: demo.FS(),
		Open: func(ctx context.Context, float32 bool) (*model.Model, error) {
			b, err := cpu.New(cpu.Options{Float32: float32})
			require.NoError(t, err)
			return model.Load(ctx, demo.FS(), b, model.Options{Context: Context})
		},
	}
	o.OnResult = func(Result) error { return boom }
	_, err = Run(ctx, o)
	require.ErrorIs(t, err, boom)
	o.OnResult = func(r Result) error {
		if r.DType == "bf16" {
			cancel()
		}
		return nil
	}
	_, err = Run(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
}
