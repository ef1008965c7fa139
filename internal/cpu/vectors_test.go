package cpu

import (
	"fmt"
	"math"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// onEveryVectors runs a test with each vectors that this processor can run. It calls them on one goroutine;
// the tests of attention call them from several.
func onEveryVectors(t *testing.T, test func(t *testing.T, v *vectors)) {
	race.SkipAlone(t)
	seen := map[*vectors]bool{}
	for _, k := range append(nativeKernels(), goKernels) {
		if !seen[k.vectors] {
			seen[k.vectors] = true
			t.Run(k.name, func(t *testing.T) { test(t, k.vectors) })
		}
	}
}

// kvMatrixOf returns values [rows, cols] as the cache stores them. For bfloat16 it rounds them in place
// first.
func kvMatrixOf(x []float32, cols int, bf16 bool) kvMatrix {
	m := kvMatrix{f32: make([]float32, len(x)), cols: cols}
	if bf16 {
		goRoundBF16(x)
		m = kvMatrix{bf16: make([]uint16, len(x)), cols: cols}
	}
	for i := range len(x) / cols {
		m.setRow(i, row(x, i, cols))
	}
	return m
}

// Products of some rows with a part of a matrix are compared with float64. One row at a time gives the same
// bits.
func TestAddProducts(t *testing.T) { onEveryVectors(t, testAddProducts) }

func testAddProducts(t *testing.T, v *vectors) {
	rng := rand.New(rand.NewSource(11))
	nan := float32(math.NaN())
	const bRows = 14
	for _, bf16 := range []bool{false, true} {
		for _, cols := range []int{32, 64, 96, 128, 160, 256} {
			for _, rows := range []int{1, 2, 3, 4, 5, 6, 11, 12, 13, 23, 48} {
				for _, of := range [][4]int{{0, bRows, 0, cols}, {2, 4, 0, 32}, {4, 12, cols - 32, cols}} {
					first, last, from, to := of[0], of[1], of[2], of[3]
					aStride, cStride := bRows+3, cols+5
					a, b, c := normals(rng, rows*aStride), normals(rng, bRows*cols), normals(rng,
						rows*cStride)
					for i := range b {
						if i/cols < first || i/cols >= last || i%cols < from || i%cols >= to {
							b[i] = nan // must not be read
						}
					}
					m := kvMatrixOf(b, cols, bf16)
					got := append([]float32{}, c...)
					p := kvProduct{
						c: got, cStride: cStride, a: a, aStride: aStride, rows: rows,
						b: m, first: first, last: last, from: from, to: to, ahead: 64,
					}
					v.addProducts(&p)
					singly := append([]float32{}, c...)
					for r := range rows {
						p.c, p.a, p.rows, p.ahead = singly[r*cStride:], a[r*aStride:], 1, 0
						v.addProducts(&p)
					}
					require.Equal(t, singly, got, "bfloat16 %v, %d columns, %d rows, %v", bf16, cols, rows,
						of)
					want := append([]float32{}, c...)
					for r := range rows {
						for j := from; j < to; j++ {
							sum, size := float64(c[r*cStride+j]), 1.0
							for i := first; i < last; i++ {
								p := float64(a[r*aStride+i-first]) * float64(b[i*cols+j])
								sum += p
								size += math.Abs(p)
							}
							require.InDelta(t, sum, float64(got[r*cStride+j]), size*1e-6)
							want[r*cStride+j] = got[r*cStride+j]
						}
					}
					require.Equal(t, want, got, "only these elements change")
				}
			}
		}
	}
}

// The powers of two of softmax are compared with float64 over their whole range. NaN and infinity must be
// noticed.
func TestSoftmaxPowers(t *testing.T) { onEveryVectors(t, testSoftmaxPowers) }

func testSoftmaxPowers(t *testing.T, v *vectors) {
	x, top, total := make([]float32, chunk), make([]float32, 1), make([]float32, 1)
	worst := 0.0
	for bits := uint32(0); bits <= math.Float32bits(-math.MaxFloat32); {
		in := make([]float32, chunk)
		for i := 1; i < chunk; i++ {
			in[i] = -math.Float32frombits(bits & 0x7fffffff)
			if in[i] != in[i] {
				in[i] = float32(math.Inf(-1))
			}
			bits += 10007 // a prime, so that the last bits take all values
			if bits >= 1<<31 {
				bits |= 0x80000000
			}
		}
		copy(x, in)
		v.softmax(x, 0, chunk, 1, top, total)
		require.Zero(t, top[0])
		var sum float64
		for i := range in {
			want := math.Exp2(float64(in[i]))
			sum += float64(x[i])
			if want < 1.2e-38 {
				require.InDelta(t, want, float64(x[i]), 1.2e-38, "2^%g", in[i])
			} else {
				worst = max(worst, math.Abs(float64(x[i])-want)/want)
			}
		}
		require.InEpsilon(t, sum, float64(total[0]), 4e-6)
		if bits >= 1<<31 {
			break
		}
	}
	require.Less(t, worst, 1e-7, "the largest relative error; half a unit in the last place is 6e-8")
	t.Logf("largest relative error %.3g", worst)

	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, bad := range []float32{inf, nan} {
		for i := range chunk {
			clear(x)
			x[i] = bad
			v.softmax(x, 0, chunk, 1, top, total)
			require.True(t, total[0] != total[0], "%g in column %d is noticed", bad, i)
		}
	}
}

// Softmax of several rows and a part of the columns: the largest value, the sum, and the same bits for any
// number of rows and of masked columns.
func TestSoftmaxRows(t *testing.T) { onEveryVectors(t, testSoftmaxRows) }

func testSoftmaxRows(t *testing.T, v *vectors) {
	rng := rand.New(rand.NewSource(12))
	for _, rows := range []int{1, 2, 17} {
		for _, of := range [][2]int{{0, 32}, {0, chunk}, {32, 96}, {96, chunk}} {
			x := normals(rng, rows*chunk)
			for i := range x {
				if x[i] *= 10; i%chunk < of[0] || i%chunk >= of[1] {
					x[i] = float32(math.Inf(-1))
				}
			}
			got, all := append([]float32{}, x...), append([]float32{}, x...)
			top, total, top2, total2 := make([]float32, rows), make([]float32, rows), make([]float32,
				rows), make([]float32, rows)
			v.softmax(got, of[0], of[1], 0.3, top, total)
			for r := range rows {
				v.softmax(all[r*chunk:], 0, chunk, 0.3, top2[r:r+1], total2[r:r+1])
				m, l := float32(math.Inf(-1)), 0.0
				for _, s := range row(x, r, chunk) {
					m = max(m, s)
				}
				for _, s := range row(x, r, chunk) {
					l += math.Exp2(float64(s)*float64(float32(0.3)) - float64(top[r]))
				}
				require.Equal(t, m*0.3, top[r])
				require.InEpsilon(t, l, float64(total[r]), 1e-6)
			}
			require.Equal(t, []any{top2, total2}, []any{top, total}, "columns of -Inf count nothing")
			for r := range rows {
				require.Equal(t, row(all, r, chunk)[of[0]:of[1]], row(got, r, chunk)[of[0]:of[1]])
			}
		}
	}
}

func TestMerge(t *testing.T) { onEveryVectors(t, testMerge) }

func testMerge(t *testing.T, v *vectors) {
	rng := rand.New(rand.NewSource(13))
	const rows, cols = 16, 96
	top, total, m, l, old := normals(rng, rows), normals(rng, rows), normals(rng, rows), normals(rng,
		rows), make([]float32, rows)
	top[0], total[0] = -math.MaxFloat32, 0 // nothing yet
	m[1], l[1] = -math.MaxFloat32, 0       // nothing to add
	top[2], total[2], m[2], l[2] = -math.MaxFloat32, 0, -math.MaxFloat32, 0
	m[3] = top[3] + 60
	out, sum := normals(rng, rows*cols), normals(rng, rows*cols)
	wantTop, wantTotal, wantAdd := append([]float32{}, top...), append([]float32{},
		total...), append([]float32{}, m...)
	wantOld, wantOut := make([]float32, rows), append([]float32{}, out...)
	goMergeStates(wantTop, wantTotal, wantAdd, l, wantOld)
	goMergeRows(wantOut, sum, wantOld, wantAdd, cols)
	goDivideRows(wantOut, wantTop, cols)
	v.mergeStates(top, total, m, l, old)
	v.mergeRows(out, sum, old, m, cols)
	v.divideRows(out, top, cols)
	require.Equal(t, wantTop, top)
	for r := range rows {
		require.InDelta(t, float64(wantTotal[r]), float64(total[r]), 1e-6)
		require.InDelta(t, float64(wantOld[r]), float64(old[r]), 1e-7)
		require.InDelta(t, float64(wantAdd[r]), float64(m[r]), 1e-7)
		for d := range cols {
			require.InDelta(t, float64(wantOut[r*cols+d]), float64(out[r*cols+d]),
				1e-6*(1+math.Abs(float64(wantOut[r*cols+d]))))
		}
	}
	require.Equal(t, []float32{0, 1}, []float32{old[0], m[0]})
	require.Equal(t, []float32{1, 0}, []float32{old[1], m[1]})
	require.Zero(t, total[2])
}

func TestRMSNorm(t *testing.T) { onEveryVectors(t, testRMSNorm) }

func testRMSNorm(t *testing.T, v *vectors) {
	rng := rand.New(rand.NewSource(2))
	for _, n := range []int{1, 7, 8, 15, 16, 17, 192, 195, 3072} {
		x, weight, y := normals(rng, n), normals(rng, n), make([]float32, n)
		v.rmsNorm(y, x, weight, 1e-5)
		var mean float64
		for _, v := range x {
			mean += float64(v) * float64(v) / float64(n)
		}
		for i := range y {
			want := float64(x[i]) / math.Sqrt(mean+1e-5) * float64(weight[i])
			require.InDelta(t, want, float64(y[i]), 1.3e-7*math.Abs(want), "%d of %d", i, n)
		}
		clear(x)
		v.rmsNorm(y, x, weight, 1e-5)
		require.Equal(t, make([]float32, n), abs(y), "zeros stay zeros")
	}
}

func abs(x []float32) []float32 {
	for i, v := range x {
		x[i] = float32(math.Abs(float64(v)))
	}
	return x
}

func TestRoundBF16(t *testing.T) { onEveryVectors(t, testRoundBF16) }

func testRoundBF16(t *testing.T, v *vectors) {
	x, want := make([]float32, 1000+3), make([]float32, 1000+3)
	for bits := uint64(0); bits < 1<<32; {
		for i := range x {
			x[i] = math.Float32frombits(uint32(bits))
			bits += 1009
			if i%2 == 0 {
				bits = bits&^0xffff | 0x8000 // a tie
			} else if i%16 == 1 {
				bits += 0x10001
			}
		}
		copy(want, x)
		goRoundBF16(want)
		v.roundBF16(x)
		for i := range x {
			if math.Float32bits(want[i]) != math.Float32bits(x[i]) {
				t.Fatalf("element %d: %08x, not %08x", i, math.Float32bits(x[i]), math.Float32bits(want[i]))
			}
		}
	}
}

func TestRotate(t *testing.T) { onEveryVectors(t, testRotate) }

func testRotate(t *testing.T, v *vectors) {
	rng := rand.New(rand.NewSource(14))
	for _, half := range []int{1, 4, 8, 15, 16, 24, 32, 40, 48, 64} {
		x, cos, sin := normals(rng, 2*half+6), normals(rng, half), normals(rng, half)
		want := append([]float32{}, x...)
		goRotate(want, cos, sin, 0)
		v.rotate(x, cos, sin)
		require.Equal(t, want, x, "half %d", half)
	}
}

func TestGate(t *testing.T) { onEveryVectors(t, testGate) }

func testGate(t *testing.T, v *vectors) {
	rng := rand.New(rand.NewSource(7))
	for _, n := range []int{1, 3, 7, 8, 9, 15, 16, 17, 31, 40} {
		gate, up, y := normals(rng, n), normals(rng, n), make([]float32, n+1)
		y[n] = 77
		for i := range gate {
			gate[i] *= 20
		}
		gate[0] = []float32{0, -100, 90, 5, -5}[n%5]
		v.gate(y[:n], gate, up)
		for i := range gate {
			want := float64(gate[i]) / (1 + math.Exp(-float64(gate[i]))) * float64(up[i])
			require.InDelta(t, want, float64(y[i]), 1e-38+1e-6*math.Abs(want), "SiLU(%g)·%g", gate[i], up[i])
		}
		require.EqualValues(t, 77, y[n], "nothing is written past the end")
	}
}

func TestKVMatrix(t *testing.T) {
	rng := rand.New(rand.NewSource(15))
	const rows, cols = 32, 64
	for _, bf16 := range []bool{false, true} {
		x := normals(rng, rows*cols)
		byRows := kvMatrixOf(x, cols, bf16)
		byColumns := kvMatrixOf(make([]float32, rows*cols), cols, bf16)
		for j := range cols {
			column := make([]float32, rows)
			for i := range column {
				column[i] = x[i*cols+j]
			}
			byColumns.setColumn(j, column)
		}
		require.Equal(t, byRows, byColumns, fmt.Sprint("bfloat16 ", bf16))
	}
}
