//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEmbedAndCopyRows(t *testing.T) {
	b := openKernels(t)
	random := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct{ vocab, cols int }{{1, 1}, {5, 7}, {33, 64}, {3, 300}} {
		narrow, wide := make([]uint16, c.vocab*c.cols), make([]float32, c.vocab*c.cols)
		ids := []int32{int32(c.vocab - 1), 0, int32(c.vocab / 2), 0}
		embedded := slices.Concat(ids[:3], []int32{^int32(c.vocab / 2)}) // a negative id counts as 0
		pick := func() []float32 {
			var rows []float32
			for _, id := range ids {
				rows = append(rows, wide[int(id)*c.cols:][:c.cols]...)
			}
			return rows
		}
		for _, typ := range []elementType{typeBF16, typeF16, typeF32} {
			for i := range wide {
				wide[i] = float32(random.NormFloat64())
				if i%5 == 4 { // subnormal in either type
					wide[i] = float32(math.Ldexp(float64(wide[i]),
						map[elementType]int{typeBF16: -129, typeF16: -16, typeF32: -140}[typ]))
				}
				if typ != typeF32 {
					bits, value := stored(typ, float64(wide[i]))
					narrow[i], wide[i] = bits, float32(value)
				}
			}
			table := upload(b, wide)
			if typ != typeF32 {
				b.free(table)
				table = upload(b, narrow)
			}
			idsDev, x := upload(b, embedded), b.alloc(len(ids)*c.cols*4)
			stored := parameter{ptr: table.devicePtr, typ: typ}
			b.k.embed(&b.q, x.devicePtr, stored, idsDev.devicePtr, len(ids), c.cols)
			b.run()
			require.Equal(t, pick(), download[float32](b, x), "embed %v type %d", c, typ)
			b.free(table, idsDev, x)
		}
		xDev, rows, y := upload(b, wide), upload(b, ids), b.alloc(len(ids)*c.cols*4)
		b.k.copyRows(&b.q, y.devicePtr, xDev.devicePtr, rows.devicePtr, len(ids), c.cols)
		b.run()
		require.Equal(t, pick(), download[float32](b, y), "copy_rows %v", c)
		b.free(xDev, rows, y)
	}
}

func TestRMSNorm(t *testing.T) {
	const eps = 1e-5
	b := openKernels(t)
	random := rand.New(rand.NewPCG(3, 3))
	for _, c := range []struct{ tokens, cols int }{
		{1, 1},
		{3, 7},
		{2, 8},
		{1, 1023},
		{5, 1024},
		{2, 3072},
		{1, 5121},
	} {
		x, norm := make([]float32, c.tokens*c.cols), make([]float32, c.cols)
		for i := range x {
			x[i] = float32(random.NormFloat64() * 3)
		}
		for i := range norm {
			norm[i] = float32(random.NormFloat64())
		}
		want := make([]float64, len(x))
		for t := range c.tokens {
			var squares float64
			for _, v := range x[t*c.cols:][:c.cols] {
				squares += float64(v) * float64(v)
			}
			for i, v := range x[t*c.cols:][:c.cols] {
				want[t*c.cols+i] = float64(v) / math.Sqrt(squares/float64(c.cols)+eps) * float64(norm[i])
			}
		}
		xDev, normDev, exact, narrow := upload(b, x), upload(b, norm), b.alloc(len(x)*4), b.alloc(len(x)*2)
		n := rowNorm{x: xDev.devicePtr, norm: normDev.devicePtr, tokens: c.tokens, cols: c.cols, eps: eps}
		n.y, n.typ = exact.devicePtr, typeF32
		b.k.rmsNorm(&b.q, n)
		n.y, n.typ = narrow.devicePtr, typeBF16
		b.k.rmsNorm(&b.q, n)
		b.run()
		got := download[float32](b, exact)
		requireNear(t, fmt.Sprint("float32 ", c), want, func(i int) float64 { return float64(got[i]) },
			func(i int) float64 { return math.Abs(want[i]) * 5e-7 })
		rounded := make([]uint16, len(got))
		for i, v := range got {
			rounded[i], _ = stored(typeBF16, float64(v))
		}
		require.Equal(t, rounded, download[uint16](b, narrow), "bfloat16 %v", c)
		b.free(xDev, normDev, exact, narrow)
	}
}

func TestArgmax(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	type change struct {
		id    int
		logit float32
	}
	// Rows of 2000 logits that are 0, but for some.
	rows := []struct {
		name    string
		changes []change
		want    int32
	}{
		{"all equal", nil, 0},
		{"last", []change{{1999, 5}}, 1999},
		{"tie", []change{{700, 5}, {701, 5}, {1024 + 700, 5}, {300, 4}}, 700},
		{"tie far apart", []change{{1023, 5}, {1024, 5}}, 1023},
		{"negative zero is zero", []change{{0, float32(math.Copysign(0, -1))}}, 0},
		{"NaN", []change{{9, nan}, {4, 7}}, ^9},
		{"first of NaN and infinities", []change{{1900, nan}, {1033, inf}, {1800, -inf}}, ^1033},
		{"-infinity", []change{{1999, -inf}, {5, 3}}, ^1999},
		{"NaN at 0", []change{{0, nan}}, ^0},
		{"greatest float", []change{{77, math.MaxFloat32}, {78, -math.MaxFloat32}}, 77},
	}
	b := openKernels(t)
	const vocab = 2000
	logits := make([]float32, len(rows)*vocab)
	want := make([]int32, len(rows))
	for r, row := range rows {
		for _, c := range row.changes {
			logits[r*vocab+c.id] = c.logit
		}
		want[r] = row.want
	}
	check := func(logits []float32, vocab int, want []int32) {
		dev, next := upload(b, logits), b.alloc(4*len(want))
		b.k.argmax(&b.q, next.devicePtr, dev.devicePtr, len(want), vocab)
		b.run()
		require.Equal(t, want, download[int32](b, next), "vocab %d", vocab)
		b.free(dev, next)
	}
	check(logits, vocab, want)
	random := rand.New(rand.NewPCG(5, 5))
	for _, vocab := range []int{1, 2, 31, 1023, 1025, 32064} {
		logits, want := make([]float32, 3*vocab), make([]int32, 3)
		for i := range logits {
			// all negative: what threads without a logit start from must not win
			logits[i] = -1 - random.Float32()
			if r := i / vocab; logits[i] > logits[r*vocab+int(want[r])] {
				want[r] = int32(i % vocab)
			}
		}
		check(logits, vocab, want)
	}
}
