//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/model"
	"phi3/internal/safetensors"
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

// planned is a backend that does something after it has planned.
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

func freeMemory(t testing.TB, d *device) int {
	t.Helper()
	var free int64
	require.NoError(t, d.do(func() (err error) {
		free, _, err = d.memInfo()
		return err
	}))
	return int(free)
}

// gpuTolerance is how far a model on a real GPU may exceed what was planned for it. No driver has been
// measured: it is as much again as is left to the driver. The test's log has the difference.
const gpuTolerance = reserve

// What a model takes is what was planned for it, but for the driver's reserve and what pages cost; and one
// byte less is refused.
func TestMemoryPlan(t *testing.T) {
	for _, dir := range checkpoints(t) {
		for _, float32 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, float32: %v", filepath.Base(dir), float32), func(t *testing.T) {
				watcher := open(t) // keeps the context, and so what another one leaves in it
				before := freeMemory(t, watcher)
				var plan memoryPlan
				load := func() (*model.Model, error) {
					b := planned{Backend: openTest(t, Options{Float32: float32})}
					b.after = func(p *model.Plan) { plan = planMemory(p, float32, p.Blocks()) }
					return loadOn(b, dir)
				}
				m, err := load()
				require.NoError(t, err)
				used := before - freeMemory(t, watcher)
				need := int(plan.Total())
				if onGPU { // what the driver takes for itself is its own affair
					t.Logf("took %+d bytes beside the plan, in which %d are left to the driver", used-need,
						reserve)
					require.LessOrEqual(t, used, need+gpuTolerance)
					require.NoError(t, m.Close())
					return
				}
				require.LessOrEqual(t, used, need-reserve, "the driver here needs nothing for itself")
				require.Greater(t, used, need-reserve-10*(2<<20),
					"of allocations that can share no page there are not ten here")
				require.NoError(t, m.Close())
				require.Equal(t, before, freeMemory(t, watcher))

				emulate(t, fmt.Sprint("free=", need))
				m, err = load()
				require.NoError(t, err)
				require.NoError(t, m.Close())

				emulate(t, fmt.Sprint("free=", need-1))
				_, err = load()
				require.EqualError(t, err,
					fmt.Sprintf("emulator 0: too little memory: the weights (%s), a KV cache of 384 tokens "+
						"(%s) and the workspace (%s) "+
						"make %s, but %s are free", needed(plan.Weights), needed(plan.KV), needed(plan.Workspace),
						needed(plan.Total()), available(int64(need-1))))
				emulate(t, fmt.Sprint("free=", plan.Weights-1))
				_, err = load()
				var tooLittle *TooLittleError
				require.ErrorAs(t, err, &tooLittle)
				require.Zero(t, tooLittle.Fits)
				emulate(t, "")
				require.Equal(t, before, freeMemory(t, watcher))
			})
		}
	}
}

// Nothing is left of a load that any of its allocations ended.
func TestFailedAllocations(t *testing.T) {
	emulate(t, "")
	watcher := open(t)
	before := freeMemory(t, watcher)
	made := 0 // allocations in the life of the context
	for n := 1; ; n++ {
		emulate(t, fmt.Sprint("fail-alloc=", made+n))
		m, err := loadOn(openTest(t, Options{}), mini)
		if err == nil {
			require.Greater(t, n, 20, "allocations of a load")
			require.NoError(t, m.Close())
			break
		}
		made += n
		require.Regexp(t, `^(load tensor \S+: )?emulator 0: cuMemAlloc of \d+ bytes: out of memory \(CUDA_ERROR_OUT_OF_MEMORY\)$`, err.Error())
		require.Equal(t, before, freeMemory(t, watcher), "after allocation %d failed", n)
	}
	require.Equal(t, before, freeMemory(t, watcher))
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
			func(c *model.Config) {
				c.Heads, c.KVHeads = 258,
					2
			}, "up to 128 query heads for each key head, and this model's are 129",
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

// requireNearest asserts that got is the number of a type nearest to x, by looking at got's neighbours. value
// widens bits.
func requireNearest(t *testing.T, x float32, got uint16, value func(uint16) float64) {
	t.Helper()
	if math.IsNaN(float64(x)) {
		require.True(t, math.IsNaN(value(got)), "NaN became %#x", got)
		return
	}
	if x == 0 || math.IsInf(float64(x), 0) {
		require.Equal(t, math.Float64bits(float64(x)), math.Float64bits(value(got)))
		return
	}
	require.Equal(t, math.Signbit(float64(x)), got>>15 == 1, "%g became %#x", x, got)
	distance := func(bits uint16) float64 { return math.Abs(value(bits) - float64(x)) }
	if got&0x7fff > 0 {
		less := distance(got - 1)
		require.True(t, distance(got) < less || distance(got) == less && got%2 == 0,
			"%g became %#x, and %#x is as near", x, got, got-1)
	}
	more := distance(got + 1)
	require.True(t, distance(got) < more || distance(got) == more && got%2 == 0,
		"%g became %#x, and %#x is as near", x, got, got+1)
}

func valueOfBF16(bits uint16) float64 {
	return float64(math.Float32frombits(uint32(bits) << 16))
}

func valueOfF16(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&0x3ff)
	value := math.Ldexp(1024+fraction, exponent-25)
	if exponent == 0 {
		value = math.Ldexp(fraction, -24)
	}
	if exponent == 31 {
		value = math.Inf(1)
		if fraction != 0 {
			value = math.NaN()
		}
	}
	return math.Copysign(value, 1-2*float64(bits>>15))
}

// Every type of tensor arrives as it should, through buffers that it fills in part, exactly, and many times
// over, from any byte on.
func TestUpload(t *testing.T) {
	const bufferBytes = 128
	random := rand.New(rand.NewPCG(1, 2))
	specials := []float32{
		0, float32(math.Copysign(0, -1)), 1, -1, 1e-45, -1e-40, 6e-8, 2.98e-8, 2.9802322e-8, 1 + 1.0/256, 1 +
			3.0/256, 65504, -65504, 1 + 1.0/2048,
		1 + 3.0/2048,
	}
	beyond := []float32{
		65505, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
		math.Float32frombits(0x7f800001), math.MaxFloat32,
	}
	numbers := func(n int, first []float32) []float32 {
		x := append(slices.Clone(first), make([]float32, n)...)[:n]
		for i := min(len(first), n); i < n; i++ {
			x[i] = float32(math.Ldexp(random.NormFloat64(), random.IntN(20)-12))
		}
		return x
	}
	bits := func(n int) []uint16 { // all bit patterns will do: NaN too
		x := make([]uint16, n)
		for i := range x {
			x[i] = uint16(random.Uint32())
		}
		return x
	}
	b := openTest(t, Options{})
	reference := openTest(t, Options{Float32: true})
	defer func() { require.NoError(t, b.Close()); require.NoError(t, reference.Close()) }()

	// arrives uploads a tensor whose data start at an odd byte, or not, and brings it back as it is on the
	// device.
	arrives := func(t *testing.T, b *Backend, dtype weight.Format, shape []int, data []byte,
		odd int,
	) (elementType, []byte) {
		t.Helper()
		at := make([]byte, odd+len(data))[odd:]
		copy(at, data)
		require.NoError(t, b.do(func() (err error) {
			b.uploader, err = newUploader(b, bufferBytes)
			return err
		}))
		tensor := &weight.Tensor{Name: "x", Format: dtype, Shape: shape, Data: at}
		uploaded, err := b.Upload(tensor)
		require.NoError(t, err)
		require.Equal(t, shape, uploaded.Shape)
		require.Equal(t, dtype, uploaded.Format)
		w := uploaded.Data.(*parameter)
		got := make([]byte, weightBytes(tensor, b.float32))
		require.Len(t, got, w.typ.bytes()*tensor.Elems())
		require.NoError(t, b.read(got, w.ptr))
		require.NoError(t, b.do(func() error { return b.device.free(w.ptr) }))
		return w.typ, got
	}
	u16 := func(b []byte, i int) uint16 { return binary.LittleEndian.Uint16(b[2*i:]) }
	for i, n := range []int{1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000} {
		odd := i % 4
		matrix, norm := []int{1, n}, []int{n}

		x := numbers(n, specials)
		typ, got := arrives(t, b, weight.F32, matrix, bytesOf(x), odd)
		require.Equal(t, typeF16, typ)
		for i := range x {
			requireNearest(t, x[i], u16(got, i), valueOfF16)
		}
		x = numbers(n, append(beyond[i%len(beyond):len(beyond):len(beyond)], specials...))
		typ, got = arrives(t, b, weight.F32, matrix, bytesOf(x), odd)
		require.Equal(t, typeBF16, typ)
		for i := range x {
			if x[i] != math.MaxFloat32 { // whose neighbour is infinitely far
				requireNearest(t, x[i], u16(got, i), valueOfBF16)
			}
		}
		typ, got = arrives(t, reference, weight.F32, matrix, bytesOf(x), odd)
		require.Equal(t, typeF32, typ)
		require.Equal(t, bytesOf(x), got)
		typ, got = arrives(t, b, weight.F32, norm, bytesOf(x), odd)
		require.Equal(t, typeF32, typ)
		require.Equal(t, bytesOf(x), got)

		for _, c := range []struct {
			dtype weight.Format
			typ   elementType
			value func(uint16) float64
		}{{weight.BF16, typeBF16, valueOfBF16}, {weight.F16, typeF16, valueOfF16}} {
			y := bits(n)
			for _, b := range []*Backend{b, reference} {
				typ, got = arrives(t, b, c.dtype, matrix, bytesOf(y), odd)
				require.Equal(t, c.typ, typ)
				require.Equal(t, bytesOf(y), got)
				typ, got = arrives(t, b, c.dtype, norm, bytesOf(y), odd)
				require.Equal(t, typeF32, typ)
				for i := range y {
					want, is := c.value(y[i]), float64(math.Float32frombits(binary.LittleEndian.Uint32(got[4*i:])))
					require.True(t, math.IsNaN(want) && math.IsNaN(is) ||
						math.Float64bits(want) == math.Float64bits(is), "%#x became %g", y[i], is)
				}
			}
		}
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

// feed runs n more tokens and returns the logits: after each where one queue does all of them, else after the
// last.
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
	s.out.AllLogits = n <= model.LogitRows
	err := s.m.Forward(ctx, s.batch, &s.out)
	return s.out.Logits, err
}

func (s *stepper) mustFeed(t testing.TB, n int) []float32 {
	t.Helper()
	logits, err := s.feed(context.Background(), n)
	require.NoError(t, err)
	return slices.Clone(logits)
}

// One graph serves all tokens, wherever they are in the sequence; and it computes what its launches do.
func TestGraphs(t *testing.T) {
	m, b := loadTest(t)
	plain, without := loadTest(t)
	s, p := newStepper(t, m), newStepper(t, plain)
	step := func(n int) {
		without.graphs = graphs{} // nothing was ever seen
		require.Equal(t, bytesOf(p.mustFeed(t, n)), bytesOf(s.mustFeed(t, n)), "%d tokens", n)
	}
	kinds := func() (seen, captured int) {
		for _, q := range b.graphs.seen {
			if q.captured {
				captured++
			}
		}
		return len(b.graphs.seen), captured
	}
	step(20)
	for range 4 {
		step(1)
	}
	seen, captured := kinds()
	require.Equal(t, []int{2, 1}, []int{seen, captured}, "after a prompt and some tokens")
	s.batch[0].Cache.Truncate(120)
	for s.batch[0].Cache.Len() < 126 {
		step(20)
	}
	for range 4 { // over the end of a block of keys
		step(1)
	}
	seen, captured = kinds()
	require.Equal(t, []int{2, 2}, []int{seen, captured},
		"a prompt's second part repeats the first's launches")
	for _, n := range []int{2, 1, 3, 2, 3, 1, 2} {
		step(n)
	}
	seen, captured = kinds()
	require.Equal(t, []int{4, 4}, []int{seen, captured})
}

// Every launch of a decode step is one wave: all its blocks run at once, on cards of any shape. And what can
// use the whole device has as many blocks as that.
func TestDecodeGridsAreOneWave(t *testing.T) {
	for _, settings := range []string{
		"sms=4", // an H100's multiprocessor
		"sms=4;compute=8.0;shared=166912",
		"sms=4;compute=8.9;shared=101376",
		"sms=1;compute=12.0;shared=101376",
	} {
		t.Run(settings, func(t *testing.T) {
			emulate(t, settings)
			m, b := loadTest(t)
			s := newStepper(t, m)
			for range 6 {
				s.mustFeed(t, 40)
			}
			full := 0
			for _, tokens := range []int{1, decodeTokens} {
				var launches queue
				b.run = func() error { launches = slices.Clone(b.queue); return b.sendAndCopy(b.dst, b.src) }
				s.mustFeed(t, tokens)
				require.NotEmpty(t, launches)
				for _, l := range launches {
					if l.shared == 0 {
						continue // the small kernels: a block a token
					}
					resident := 0
					require.NoError(t, b.do(func() (err error) {
						resident, err = b.device.residentBlocks(l.function, int(l.block), int(l.shared))
						return err
					}))
					fits := resident * b.device.multiprocessors
					require.LessOrEqual(t, int(l.grid[0]*l.grid[1]), fits, "%d tokens: blocks of %d bytes",
						tokens, l.shared)
					if int(l.grid[0]) == fits {
						full++
					}
				}
			}
			require.Positive(t, full, "launches that fill the device")
		})
	}
}

// Attention's decode leaves room for as many blocks on a multiprocessor of 228 KB as its launch bounds say.
// On one of 100 KB every kernel can be launched.
func TestAttentionDecodeResidency(t *testing.T) {
	for settings, want := range map[string]map[int]int{
		"":                                {64: 5, 80: 4, 96: 4, 128: 3, 256: 2},
		"compute=8.6;shared=101376;sms=1": {64: 2, 80: 2, 96: 1, 128: 1, 256: 1},
	} {
		emulate(t, settings)
		d := open(t)
		require.NoError(t, d.do(func() error {
			m, _, err := d.loadCode(nil)
			if err != nil {
				return err
			}
			for _, headDim := range headDims {
				k, err := d.loadAttentionKernels(m, shape(2, 1, headDim, headDim/2, 0), typeBF16)
				if err != nil {
					return err
				}
				if k.decodeResident != want[headDim] {
					t.Errorf("%s: head dimension %d: %d blocks, not %d", settings, headDim, k.decodeResident,
						want[headDim])
				}
			}
			return nil
		}))
	}
}

// A token's launches are the same in a long sequence as in a short one, which has fewer blocks of keys.
func TestOneGraphAtAnyLength(t *testing.T) {
	b := openTest(t, Options{})
	m, err := model.Load(context.Background(), os.DirFS(mini), b, model.Options{Context: 2000, MaxTokens: 40})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	s := newStepper(t, m)
	for _, length := range []int{1, 127, 128, 129, 640, 1999} {
		cache := s.batch[0].Cache
		_, err := cache.Prepare(length)
		require.NoError(t, err)
		cache.Advance(length - cache.Len()) // whatever the cache holds there
		s.mustFeed(t, 1)
		require.Len(t, b.graphs.seen, 1, "length %d", length)
		cache.Truncate(length)
	}
	require.True(t, b.graphs.seen[0].captured)
}

// More kinds of queues than are remembered: the oldest go, and their graphs with them.
func TestForgottenGraphs(t *testing.T) {
	d := open(t)
	on(t, d, func(t inside, s cu.Stream) {
		l := loadCopyRows(t, d).launch()
		owned := len(d.owned)
		var g graphs
		captured := func(n int) bool { // of the queue of n launches, if it is remembered
			for _, q := range g.seen {
				if len(q.launches) == n {
					return q.captured
				}
			}
			return false
		}
		run := func(n int) { require.NoError(t, g.run(d, s, slices.Repeat(queue{l}, n))) }
		for n := 1; n <= 3*maxGraphs; n++ {
			run(n)
			if n%2 == 0 {
				run(n)
				require.True(t, captured(n))
			}
			run(1) // which is used all the time, and so stays
			require.LessOrEqual(t, len(g.seen), maxGraphs)
			require.LessOrEqual(t, len(d.owned)-owned, maxGraphs/2+1, "graphs that are alive")
		}
		require.True(t, captured(1))
		require.Len(t, g.seen, maxGraphs)
		require.NoError(t, g.run(d, s, nil))
	})
}

// canceled is done after it was asked a few times.
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

// A step that ends in the middle leaves nothing to the next.
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

// A fault in a kernel comes out in the driver's words, once and for all.
func TestFaults(t *testing.T) {
	const words = `^emulator 0: \w+: an illegal memory access was encountered: (\w+): the fault that was asked for \(CUDA_ERROR_ILLEGAL_ADDRESS\)$`
	for _, c := range []struct {
		name, kernel string
		before       []int // steps that are well
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

// What a verb stored as bfloat16 is widened; and without room for anything, Read only waits.
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

	// More than comes back at a time.
	large := newMatrix(t, b, 3, readBackBytes/4+5)
	want = make([]float32, large.Rows*large.Cols)
	for i := range want {
		want[i] = float32(i)
	}
	require.NoError(t, b.do(func() error {
		return b.device.copyToDevice(ptr(large), bytesOf(want),
			b.stream)
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

// A token costs the garbage collector nothing.
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
		require.Zero(t, testing.AllocsPerRun(5, step), "greedy: %v", greedy)
	}
}

// The goroutines that fill upload buffers hand the fault of a shrunk file to the one that waits for them.
func TestFillFromShrunkFile(t *testing.T) {
	dir := t.TempDir()
	const elems = 3 << 20 // pieces for several goroutines
	header := fmt.Sprintf(`{"x":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}`, elems, 2*elems)
	file := filepath.Join(dir, "model.safetensors")
	require.NoError(t, os.WriteFile(file,
		append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), 0o600))
	require.NoError(t, os.Truncate(file, int64(8+len(header)+2*elems)))
	c, err := safetensors.Open(os.DirFS(dir))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	x, _ := c.Tensor("x")
	read := func(to elementType) (err error) {
		return weight.Guard([]*weight.Tensor{x}, func() error {
			fill(make([]byte, to.bytes()*elems), x.Data, converter(weight.BF16, to))
			return nil
		})
	}
	for _, to := range []elementType{typeBF16, typeF32} { // copied by the runtime's assembly, and by a loop
		require.NoError(t, read(to))
		require.NoError(t, os.Truncate(file, 100))
		require.ErrorContains(t, read(to), `model.safetensors: tensor "x": byte`)
		require.NoError(t, os.Truncate(file, int64(8+len(header)+2*elems)))
	}
}
