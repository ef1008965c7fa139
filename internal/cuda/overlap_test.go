//go:build cuda && linux && cgo

package cuda

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
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
	require.Len(t, g.seen, 1)
	require.True(t, g.seen[0].captured)
	require.False(t, slices.ContainsFunc(g.seen[0].launches, func(l launch) bool { return l.flags != 0 }))
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
		b.k.overlap = true
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
			launches = append(launches, func() { b.k.fit(&p); b.k.decode(&b.q, p, blocks) })
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
