package cpu

// The functions of vectors_avx2_amd64.s, see assembly. A number in a name is how many rows a call takes.

//go:noescape
func products6AVX2BF16(args *kvArgs)

//go:noescape
func products6AVX2F32(args *kvArgs)

//go:noescape
func products4AVX2BF16(args *kvArgs)

//go:noescape
func products4AVX2F32(args *kvArgs)

//go:noescape
func products1AVX2BF16(args *kvArgs)

//go:noescape
func products1AVX2F32(args *kvArgs)

//go:noescape
func softmaxAVX2(x *float32, rows, cols int, scale float32, top, total *float32)

//go:noescape
func mergeStatesAVX2(top, total, m, l, old *float32, n int)

//go:noescape
func mergeRowsAVX2(out, sum, old, add *float32, rows, cols int)

//go:noescape
func divideRowsAVX2(x, by *float32, rows, cols int)

//go:noescape
func gateAVX2(y, gate, up *float32, n int)

//go:noescape
func expAVX2(x *float32, n int)

//go:noescape
func roundBF16AVX2(x *float32, n int)

//go:noescape
func sumSquaresAVX2(x *float32, n int) float64

//go:noescape
func scaleAVX2(y, x, weight *float32, n int, scale float32)

//go:noescape
func rotateAVX2(lo, hi, cos, sin *float32, n int)

var avx2Assembly = &assembly{
	width: 8, rows: 6,
	many: products6AVX2BF16, manyF32: products6AVX2F32, four: products4AVX2BF16, fourF32: products4AVX2F32,
	one: products1AVX2BF16, oneF32: products1AVX2F32,
	softmax: softmaxAVX2, mergeStates: mergeStatesAVX2, mergeRows: mergeRowsAVX2, divideRows: divideRowsAVX2,
	gate: gateAVX2Any, exp: expAVX2, roundBF16: roundBF16AVX2, sumSquares: sumSquaresAVX2,
	scale: scaleAVX2, rotate: rotateAVX2,
}

var avx2Vectors = avx2Assembly.vectors()

// gateAVX2Any is vectors.gate. (As a method of assembly it would allocate the arrays on the heap.)
func gateAVX2Any(y, gate, up []float32) {
	n := len(y) &^ 7
	if n > 0 {
		gateAVX2(&y[0], &gate[0], &up[0], n)
	}
	if n < len(y) {
		var out, g, u [8]float32
		copy(g[:], gate[n:])
		copy(u[:], up[n:])
		gateAVX2(&out[0], &g[0], &u[0], 8)
		copy(y[n:], out[:])
	}
}
