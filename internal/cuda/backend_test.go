//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// checkpoints are the directories of all test checkpoints.
func checkpoints(t testing.TB) []string {
	t.Helper()
	configs, err := filepath.Glob("../../testdata/*/config.json")
	require.NoError(t, err)
	require.NotEmpty(t, configs)
	dirs := []string{"../demo/checkpoint"}
	for _, c := range configs {
		dirs = append(dirs, filepath.Dir(c))
	}
	return dirs
}

const mini = "../../testdata/mini"

// planned is a backend that calls after when it has planned.
type planned struct {
	*Backend
	after func(*model.Plan)
}

func (p planned) Plan(plan *model.Plan) error {
	err := p.Backend.Plan(plan)
	if p.after != nil {
		p.after(plan)
	}
	return err
}

func openTest(t testing.TB, o Options) *Backend {
	t.Helper()
	b, err := Open(o)
	require.NoError(t, err)
	return b.(*Backend)
}

// loadOn loads a model of up to 300 tokens in steps of up to 40.
func loadOn(b model.Backend, dir string) (*model.Model, error) {
	return model.Load(context.Background(), os.DirFS(dir), b, model.Options{Context: 300, MaxTokens: 40})
}

func loadTest(t testing.TB) (*model.Model, *Backend) {
	t.Helper()
	b := openTest(t, Options{})
	m, err := loadOn(b, mini)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m, b
}

func TestUnsupportedShapes(t *testing.T) {
	good, err := model.ReadConfig(os.DirFS(mini))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(c *model.Config)
		want   string
	}{
		"head dimension": {
			func(c *model.Config) { c.HeadDim = 72 },
			"a head dimension of 64, 80, 96, 128 or 256, and this model's is 72",
		},
		"hidden": {
			func(c *model.Config) { c.HiddenSize = 196 },
			"a hidden_size and intermediate_size divisible by 8, and this model's are 196 and " +
				fmt.Sprint(good.IntermediateSize),
		},
		"intermediate": {
			func(c *model.Config) { c.IntermediateSize = 100 },
			"a hidden_size and intermediate_size divisible by 8, and this model's are 192 and 100",
		},
		"group": {
			func(c *model.Config) { c.Heads, c.KVHeads = 258, 2 },
			"up to 128 query heads for each key head, and this model's are 129",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := *good
			c.change(&config)
			for _, float32 := range []bool{false, true} {
				b := openTest(t, Options{Float32: float32})
				err := b.Plan(&model.Plan{Config: &config, MaxTokens: 8, Context: 1, Least: 1})
				if float32 {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, "the CUDA kernels are made for "+c.want)
					require.ErrorAs(t, err, new(*UnsupportedError))
				}
				require.NoError(t, b.Close())
			}
		})
	}
}

// stepper feeds a sequence to a model.
type stepper struct {
	m     *model.Model
	batch []model.Sequence
	out   model.Output
}

func newStepper(t testing.TB, m *model.Model) *stepper {
	c := m.NewCache()
	t.Cleanup(c.Reset)
	return &stepper{m: m, batch: []model.Sequence{{Cache: c}}}
}

// feed runs n more tokens. It returns the logits after each if one queue computes them all, otherwise
// after the last.
func (s *stepper) feed(ctx context.Context, n int) ([]float32, error) {
	length := s.batch[0].Cache.Len()
	ids := s.batch[0].IDs[:0]
	for i := range n {
		ids = append(ids, int32((length+i)*7%100))
	}
	s.batch[0].IDs = ids
	if _, err := s.batch[0].Cache.Prepare(length + n); err != nil {
		return nil, err
	}
	s.out.AllLogits = n <= 16
	err := s.m.Forward(ctx, s.batch, &s.out)
	return s.out.Logits, err
}

func (s *stepper) mustFeed(t testing.TB, n int) []float32 {
	t.Helper()
	logits, err := s.feed(context.Background(), n)
	require.NoError(t, err)
	return slices.Clone(logits)
}

// canceled is canceled after a number of calls of Err.
type canceled struct {
	context.Context
	questions int
}

func (c *canceled) Err() error {
	if c.questions--; c.questions < 0 {
		return context.Canceled
	}
	return nil
}

// TestAbandonedSteps: a step that ends early does not affect the next one.
func TestAbandonedSteps(t *testing.T) {
	m, b := loadTest(t)
	want := newStepper(t, m)
	logits := [][]float32{want.mustFeed(t, 11), want.mustFeed(t, 1), want.mustFeed(t, 3)}
	s, other := newStepper(t, m), newStepper(t, m)
	disturb := func() {
		for _, n := range []int{1, 11} {
			for layer := range m.Config.Layers {
				_, err := other.feed(&canceled{context.Background(), layer}, n)
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		full := b.stage.host.bytes
		b.stage.host.bytes = full[:100]
		_, err := s.feed(context.Background(), 11)
		require.ErrorContains(t, err, "a step's data (")
		require.ErrorContains(t, err, "do not fit their 100 bytes on the device")
		b.stage.host.bytes = full
	}
	for i, n := range []int{11, 1, 3} {
		disturb()
		require.Equal(t, bytesOf(logits[i]), bytesOf(s.mustFeed(t, n)), "step %d", i)
	}
}

// TestFaults: a fault in a kernel is reported with the driver's message, and every later step fails with it.
func TestFaults(t *testing.T) {
	const words = `^emulator 0: \w+: an illegal memory access was encountered: (\w+): ` +
		`the fault that was asked for \(CUDA_ERROR_ILLEGAL_ADDRESS\)$`
	for _, c := range []struct {
		name, kernel string
		before       []int // steps without the fault
		tokens       int
	}{
		{"prefill", "attention_prefill_96", nil, 20},
		{"prefill's last kernel", "norm_linear_decode_bf16", nil, 20},
		{"decode", "attention_decode_96", []int{20}, 1},
		{"capture", "attention_decode_96", []int{20, 1}, 1},
		{"graph", "attention_decode_96", []int{20, 1, 1, 1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			emulate(t, "")
			m, err := loadOn(openTest(t, Options{}), mini)
			require.NoError(t, err)
			s := newStepper(t, m)
			for _, n := range c.before {
				s.mustFeed(t, n)
			}
			emulate(t, "fault="+c.kernel)
			for range 2 {
				_, err = s.feed(context.Background(), c.tokens)
				require.Error(t, err)
				require.Regexp(t, words, err.Error())
				require.ErrorContains(t, err, c.kernel)
				emulate(t, "") // the context stays broken
			}
			require.NoError(t, m.Close(), "it was reported")
		})
	}
	t.Run("loading", func(t *testing.T) {
		emulate(t, "")
		b := planned{Backend: openTest(t, Options{})}
		b.after = func(*model.Plan) {
			emulate(t, "fault=copy_rows")
			b.kernels.copyRows(&b.queue, b.normed, b.normed, b.stage.device, 1, 8)
			require.NoError(t, b.device.do(func() error { return b.device.launchAll(b.stream, b.queue) }))
			require.Error(t, b.device.do(func() error { return b.device.sync(b.stream) }))
		}
		_, err := loadOn(b, mini)
		require.Error(t, err)
		require.Regexp(t, "^load tensor model.embed_tokens.weight: "+words[1:], err.Error())
	})
}

func newMatrix(t *testing.T, b *Backend, rows, cols int) model.Matrix {
	m := &matrix{}
	require.NoError(t, b.do(func() (err error) {
		m.ptr, err = b.device.alloc(4 * rows * cols)
		return err
	}))
	return model.Matrix{Rows: rows, Cols: cols, Data: m}
}

// TestRead: Read widens what a verb stored as bfloat16. Without room for results it only waits.
func TestRead(t *testing.T) {
	b := openTest(t, Options{})
	defer func() { require.NoError(t, b.Close()) }()
	m := newMatrix(t, b, 5, 7)
	want := make([]float32, 35)
	bits := make([]uint16, 35)
	for i := range bits {
		bits[i] = uint16(0x3f80 + 300*i)
		want[i] = float32(valueOfBF16(bits[i]))
	}
	got := make([]float32, 36)
	check := func(bytes []byte, bf16 bool) {
		require.NoError(t, b.do(func() error { return b.device.copyToDevice(ptr(m), bytes, b.stream) }))
		m.Data.(*matrix).bf16 = bf16
		clear(got)
		require.NoError(t, b.Read(got, m))
		require.Equal(t, want, got[:35])
		require.Zero(t, got[35])
		require.NoError(t, b.Read(got, m.First(2)))
		require.NoError(t, b.Read(nil, m.First(0)))
		require.Equal(t, want, got[:35])
	}
	check(bytesOf(bits), true)
	check(bytesOf(want), false)

	// More than one piece.
	large := newMatrix(t, b, 3, readBackBytes/4+5)
	want = make([]float32, large.Rows*large.Cols)
	for i := range want {
		want[i] = float32(i)
	}
	require.NoError(t, b.do(func() error {
		return b.device.copyToDevice(ptr(large), bytesOf(want), b.stream)
	}))
	got = make([]float32, len(want))
	require.NoError(t, b.Read(got, large))
	require.True(t, slices.Equal(want, got))
}

func TestAfterClose(t *testing.T) {
	b := openTest(t, Options{})
	x := newMatrix(t, b, 1, 1)
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Read(make([]float32, 1), x), errClosed)
	_, err := b.Upload(&weight.Tensor{Format: weight.BF16, Shape: []int{1}, Data: []byte{0, 0}})
	require.ErrorIs(t, err, errClosed)
}

// TestDecodeDoesNotAllocate: a token makes no garbage.
func TestDecodeDoesNotAllocate(t *testing.T) {
	m, _ := loadTest(t)
	s := newStepper(t, m)
	s.mustFeed(t, 20)
	for _, greedy := range []bool{false, true} {
		s.out.Greedy = greedy
		step := func() {
			s.batch[0].Cache.Truncate(20)
			_, err := s.feed(context.Background(), 1)
			require.NoError(t, err)
		}
		step()
		step()
		require.Zero(t, testing.AllocsPerRun(50, step), "greedy: %v", greedy)
	}
}
