//go:build unix

package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"phi3/internal/backendtest"
	"phi3/internal/model"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// edgeHalves are float16 bits: zeros, the smallest and largest denormal and normal numbers, ones, infinities
// and NaN.
var edgeHalves = []uint16{
	0, 0x8000, 1, 0x8001, 0x3ff, 0x83ff, 0x400, 0x8400, 0x3c00, 0xbc00, 0x3bff, 0x7bff, 0xfbff,
	0x7c00, 0xfc00, 0x7c01, 0x7e00, 0x7fff, 0xffff,
}

// Every unpacker in assembly is compared with weight.Unpack. The source ends, and before that begins, at a
// page that cannot be read; the destination ends at one.
func TestUnpackers(t *testing.T) {
	race.SkipAlone(t)
	for _, k := range nativeKernels() {
		for f, u := range k.unpackers {
			t.Run(fmt.Sprintf("%s/%s", k.name, f), func(t *testing.T) { testUnpacker(t, f, u) })
		}
	}
}

func testUnpacker(t *testing.T, f weight.Format, unpack unpacker) {
	rng := rand.New(rand.NewSource(21))
	weights, size := f.Block()
	check := func(blocks int, fill func(src []byte)) {
		n := blocks * weights
		src, dst := guarded(t, blocks*size), guarded(t, 2*n)
		out := unsafe.Slice((*uint16)(unsafe.Pointer(&dst[0])), n)
		fill(src)
		want := make([]uint16, n)
		weight.Unpack(want, src, f)
		for _, ahead := range []int{0, 4096} {
			clear(out)
			unpack(&out[0], &src[0], n, ahead)
			for i, w := range want {
				if w&0x7f80 == 0x7f80 && out[i]&0x7f80 == 0x7f80 {
					continue // NaN or infinity
				}
				if w != out[i] {
					t.Fatalf("%d blocks, block %d, weight %d: %04x, not %04x; block % x", blocks, i/weights,
						i%weights, out[i], w, src[i/weights*size:][:size])
				}
			}
		}
	}
	random := func(src []byte) {
		for i := range src {
			src[i] = byte(rng.Int63())
		}
	}
	for _, blocks := range []int{1, 2, 3, 4, 5, 7, 32, 255} {
		for range 4 {
			check(blocks, random)
		}
	}
	for start := 0; start < 16; start++ { // the source begins at every address modulo 16
		check(1+start, random)
	}
	check(256, func(src []byte) { // every byte, scales included, and the weights of a block all the same
		for i := range src {
			src[i] = byte(i / size)
		}
	})
	scales := map[weight.Format][]int{
		weight.Q4_0: {0}, weight.Q4_1: {0, 2}, weight.Q5_0: {0}, weight.Q5_1: {0, 2}, weight.Q8_0: {0},
		weight.Q2_K: {80, 82}, weight.Q3_K: {108}, weight.Q4_K: {0, 2}, weight.Q5_K: {0, 2},
		weight.Q6_K: {208}, weight.IQ4_NL: {0}, weight.IQ4_XS: {0},
	}[f]
	require.NotNil(t, scales)
	edges := len(edgeHalves)
	check(edges*edges, func(src []byte) {
		random(src)
		for i := range edges * edges {
			for j, at := range scales {
				binary.LittleEndian.PutUint16(src[i*size+at:], edgeHalves[[]int{i % edges, i / edges}[j]])
			}
		}
	})
	if weights == 32 { // every scale
		check(1<<16, func(src []byte) {
			random(src)
			for i := range 1 << 16 {
				binary.LittleEndian.PutUint16(src[i*size:], uint16(i))
			}
		})
	}
}

// No loop reads beyond the end of a quantized weight: the page after it cannot be read.
func TestQuantizedWeightAtTheEnd(t *testing.T) { onEveryPath(t, testQuantizedWeightAtTheEnd) }

func testQuantizedWeightAtTheEnd(t *testing.T) {
	race.SkipAlone(t)
	const k, rows = 512, 19
	rng := rand.New(rand.NewSource(22))
	for _, f := range backendtest.QuantizedFormats() {
		data := guarded(t, f.RowBytes(k*rows))
		copy(data, backendtest.RandomBlocks(rng, f, k*rows))
		b := newBackend(t, Options{Threads: 1},
			&model.Config{HiddenSize: k, IntermediateSize: rows, Heads: 1, KVHeads: 1}, 70, 0)
		w, err := b.Upload(&weight.Tensor{Name: "w", Format: f, Shape: []int{rows, k}, Data: data})
		require.NoError(t, err)
		for _, tokens := range []int{1, 7, 70} {
			y := make([]float32, tokens*rows)
			b.product(y, rows, input{x: make([]float32, tokens*k)}, w, store)
			require.Equal(t, make([]float32, tokens*rows), y)
		}
	}
}

// guarded returns n bytes that end where memory cannot be accessed.
func guarded(t *testing.T, n int) []byte {
	page := syscall.Getpagesize()
	whole := (n + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, whole+page, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(memory)) })
	require.NoError(t, syscall.Mprotect(memory[whole:], syscall.PROT_NONE))
	return memory[whole-n : whole]
}

// The rounding of the unpackers with AVX2 and NEON is that of weight.ToBF16 for every significand of float32.
// (The exponent changes nothing.)
func TestSplitting(t *testing.T) {
	race.SkipAlone(t)
	for bits := uint32(0x3f800000); bits < 0x40000000; bits++ {
		x := math.Float32frombits(bits)
		c := 65536 * x
		if got := float32(c - float32(c-x)); got != weight.FromBF16(weight.ToBF16(x)) {
			t.Fatalf("%08x becomes %g", bits, got)
		}
	}
}

// The unpackers alone, in a cache: the least time for 32 weights. It hardly depends on other processes.
func BenchmarkUnpack(b *testing.B) {
	for _, k := range nativeKernels() {
		for f := weight.Q4_0; f <= weight.IQ4_XS; f++ {
			if unpack := k.unpackers[f]; unpack != nil {
				b.Run(fmt.Sprintf("%s/%s", k.name, f), func(b *testing.B) { benchmarkUnpack(b, f, unpack) })
			}
		}
	}
}

func benchmarkUnpack(b *testing.B, f weight.Format, unpack unpacker) {
	const n, times = 1024, 20
	src, dst := make([]byte, f.RowBytes(n)), make([]uint16, n)
	least := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		for range times {
			unpack(&dst[0], &src[0], n, 0)
		}
		least = min(least, time.Since(start))
	}
	b.ReportMetric(float64(least.Nanoseconds())*32/(n*times), "ns/32-weights")
	b.ReportMetric(0, "ns/op")
}
