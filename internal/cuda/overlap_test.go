//go:build cuda && linux && cgo

package cuda

import (
	"cmp"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/model"
)

// TestOverlap: in decode and in batches every launch may start before the one before it has ended, except the
// first of a queue. A GPU without dependent launches gets none of them. In both cases products have rings of
// the right length.
func TestOverlap(t *testing.T) {
	for settings, stages := range map[string]int{
		"compute=9.0;shared=232448":  wideStages,
		"compute=8.0;shared=166912":  decodeStages,
		"compute=12.0;shared=101376": decodeStages, // overlaps, but two blocks with long rings do not fit
	} {
		t.Run(settings, func(t *testing.T) {
			log := emulatorLog(t, settings)
			m, b := loadTest(t)
			require.Equal(t, !strings.Contains(settings, "=8."), b.device.overlap)
			s := newStepper(t, m)
			for _, tokens := range []int{20, 1, 1, 1} {
				b.run = func() error {
					err := b.sendAndCopy(b.dst, b.src)
					for _, l := range b.queue {
						if tokens == 1 && l.weights > 0 {
							require.Equal(t, stages, int(l.linearArgs().stages))
						}
					}
					return err
				}
				s.mustFeed(t, tokens)
				launches := log("launch")
				require.NotEmpty(t, launches)
				for i, l := range launches {
					require.Equal(t, b.device.overlap && i > 0, strings.HasSuffix(l, " overlap"),
						"%d tokens, launch %d: %s", tokens, i, l)
				}
			}
			require.True(t, b.graphs.seen[0].captured)
		})
	}
}

// TestOverlapRefused: if the driver does not capture overlapping launches, the graph has ordinary ones.
func TestOverlapRefused(t *testing.T) {
	useDriver(t, compileDriver(t, noDriver+`
		static int capturing;
		int cuStreamBeginCapture_v2() { capturing = 1; return 0; }
		int cuStreamEndCapture(void *stream, void **graph) { capturing = 0; *graph = 0; return 0; }
		int cuGraphInstantiateWithFlags() { return 0; }
		int cuLaunchKernelEx() { return capturing ? 801 : 0; }
	`))
	require.NoError(t, loadDriver())
	d := device{overlap: true}
	var g graphs
	q := queue{{waits: 1}, {waits: 1}, {waits: 1}}
	for range 3 {
		require.NoError(t, g.run(&d, cu.NoStream, q))
	}
	require.False(t, d.overlap)
	require.ErrorContains(t, d.overlapRefused, "cuLaunchKernelEx")
	require.Len(t, g.seen, 1)
	require.True(t, g.seen[0].captured)
	require.False(t, slices.ContainsFunc(g.seen[0].launches, func(l launch) bool { return l.flags != 0 }))
}

// TestWithoutOverlap: when a driver has refused to capture overlapping launches, while the model was loaded
// or later, decode does what it does on a driver that cannot overlap launches, with the same bits: ordinary
// launches, short rings, and as many blocks as fit. The backend's name says so.
func TestWithoutOverlap(t *testing.T) {
	const settings = "compute=9.0;shared=232448;sms=2"
	type shape struct{ blocks, shared, stages, flags int }
	type step struct {
		shapes []shape
		log    []string
		logits []float32
	}
	run := func(t *testing.T, log func(...string) []string, m *model.Model, b *Backend) (steps []step) {
		s := newStepper(t, m)
		var shapes []shape
		b.run = func() error {
			err := b.sendAndCopy(b.dst, b.src)
			for _, l := range b.queue {
				shapes = append(shapes, shape{
					int(l.grid[0] * l.grid[1]), int(l.shared), int(l.linearArgs().stages), int(l.flags),
				})
				if l.weights == 0 {
					shapes[len(shapes)-1].stages = 0
				}
			}
			return err
		}
		log()
		for _, tokens := range []int{20, 1, 1, 1, 1, 1} {
			shapes = nil
			logits := s.mustFeed(t, tokens)
			steps = append(steps, step{shapes, log("launch"), logits})
		}
		return steps
	}
	refuse := func(t *testing.T) { t.Setenv("PHI3_EMULATOR", os.Getenv("PHI3_EMULATOR")+";refuse-overlap=1") }

	log := emulatorLog(t, settings)
	m, b := loadTest(t)
	b.device.overlap = false
	plain := run(t, log, m, b)
	require.NotContains(t, b.Name(), "overlap")
	widest := func(s step) shape { // of the products
		return slices.MaxFunc(s.shapes, func(a, b shape) int {
			return cmp.Or(cmp.Compare(min(a.stages, 1), min(b.stages, 1)), cmp.Compare(a.blocks, b.blocks))
		})
	}
	const decoded = 1 // the first step of one token
	require.Equal(t, decodeStages, widest(plain[decoded]).stages)
	require.Greater(t, widest(plain[decoded]).blocks, b.device.multiprocessors)

	t.Run("while it is loaded", func(t *testing.T) {
		refuse(t)
		m, b := loadTest(t)
		require.False(t, slices.ContainsFunc(b.device.owned, func(r resource) bool {
			_, is := r.handle.(graph)
			return is
		}), "the graphs that asked are freed")
		require.Contains(t, b.Name(), ", without overlapping launches")
		require.Contains(t, b.KernelCode().String(), ", without overlapping launches")
		require.ErrorContains(t, b.KernelCode().OverlapRefused, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
		require.Equal(t, plain, run(t, log, m, b))
	})
	t.Run("later", func(t *testing.T) {
		m, b := loadTest(t)
		require.NotContains(t, b.Name(), "overlap")
		refuse(t)
		steps := run(t, log, m, b)
		require.Contains(t, b.Name(), ", without overlapping launches")
		require.Equal(t, wideStages, widest(steps[decoded]).stages)
		require.Equal(t, b.device.multiprocessors, widest(steps[decoded]).blocks)
		const refused = 2 // the second step of one token, which would be captured
		for i, s := range steps {
			require.Equal(t, bytesOf(plain[i].logits), bytesOf(s.logits), "step %d", i)
			switch {
			case i < refused:
				require.NotEqual(t, plain[i].shapes, s.shapes, "step %d", i)
				require.NotEqual(t, plain[i].log, s.log, "step %d", i)
			case i == refused:
				require.Equal(t, plain[i].log, s.log, "step %d", i) // but with the rings of overlap
			default:
				require.Equal(t, plain[i], s, "step %d", i)
			}
		}
	})
}

// TestOverlappedLaunches: kernels of decode, each of which reads what the one before it wrote, have the same
// results one after another and overlapped, in every order that a GPU may choose.
func TestOverlappedLaunches(t *testing.T) {
	const vocab, k, rows, tokens, blocks = 40, 584, 75, 2, 2
	orders := []string{"forward", "reverse", "random:1", "random:2"}
	if checked || onGPU {
		orders = orders[:2]
	}
	for _, order := range orders {
		if !onGPU {
			t.Setenv("PHI3_EMULATOR", "order="+order)
		}
		b := openKernels(t)
		random := rand.New(rand.NewPCG(8, 8))
		bits := func(n int) []uint16 {
			s := make([]uint16, n)
			for i := range s {
				s[i], _ = stored(typeBF16, random.NormFloat64()/8)
			}
			return s
		}
		logits, table := upload(b, normals(random, tokens*vocab, 1)), upload(b, bits(vocab*k))
		norm, w := upload(b, normals(random, k, 1)), upload(b, bits(2*rows*k))
		down := upload(b, bits(k*rows*2))
		ids, x, normed := b.alloc(4*tokens), b.alloc(4*tokens*k), b.alloc(2*tokens*k)
		sums, h, last := b.alloc(4*tokens*rows), b.alloc(2*tokens*80), b.alloc(4*k)
		launches := []func(){
			func() { b.k.argmax(&b.q, ids.devicePtr, logits.devicePtr, tokens, vocab) },
			func() {
				b.k.embed(&b.q, x.devicePtr, parameter{ptr: table.devicePtr}, ids.devicePtr, tokens, k)
			},
			func() {
				b.k.rmsNorm(&b.q, rowNorm{
					y: normed.devicePtr, typ: typeBF16, x: x.devicePtr, norm: norm.devicePtr,
					tokens: tokens, cols: k, eps: linearEps,
				})
			},
		}
		for _, p := range []product{
			{epilogue: store, y: sums.devicePtr, x: normed.devicePtr, w: w.devicePtr, rows: rows, k: k},
			{
				epilogue: gateUp, y: h.devicePtr, x: x.devicePtr, norm: norm.devicePtr, eps: linearEps,
				w: w.devicePtr, rows: 72, k: k,
			},
			{epilogue: addTo, y: x.devicePtr, x: h.devicePtr, w: down.devicePtr, rows: k, k: 72},
		} {
			p.tokens = tokens
			launches = append(launches, func() { b.k.fit(&p, true); b.k.decode(&b.q, p, blocks) })
		}
		row := upload(b, []int32{1})
		launches = append(launches,
			func() { b.k.copyRows(&b.q, last.devicePtr, x.devicePtr, row.devicePtr, 1, k) })
		results := func(together bool) []byte {
			b.do(func() error {
				for _, a := range []array{ids, x, normed, sums, h, last} {
					if err := b.d.fill(a.devicePtr, poison, a.bytes, b.stream); err != nil {
						return err
					}
				}
				return nil
			})
			for _, launch := range launches {
				launch()
				if !together {
					b.run()
				}
			}
			b.run()
			return slices.Concat(download[byte](b, ids), download[byte](b, x), download[byte](b, sums),
				download[byte](b, h), download[byte](b, last))
		}
		require.Equal(t, results(false), results(true), order)
	}
}
