package cpu

// The functions of vectors_avx512_amd64.s, see assembly. A number in a name is how many rows a call takes.

//go:noescape
func products12AVX512BF16(args *kvArgs)

//go:noescape
func products12AVX512F32(args *kvArgs)

//go:noescape
func products4AVX512BF16(args *kvArgs)

//go:noescape
func products4AVX512F32(args *kvArgs)

//go:noescape
func products1AVX512BF16(args *kvArgs)

//go:noescape
func products1AVX512F32(args *kvArgs)

//go:noescape
func softmaxAVX512(x *float32, rows, cols int, scale float32, top, total *float32)

//go:noescape
func mergeStatesAVX512(top, total, m, l, old *float32, n int)

//go:noescape
func mergeRowsAVX512(out, sum, old, add *float32, rows, cols int)

//go:noescape
func divideRowsAVX512(x, by *float32, rows, cols int)

// gateAVX512 takes any n of at least 1.
//
//go:noescape
func gateAVX512(y, gate, up *float32, n int)

//go:noescape
func expAVX512(x *float32, n int)

//go:noescape
func roundBF16AVX512(x *float32, n int)

//go:noescape
func sumSquaresAVX512(x *float32, n int) float64

//go:noescape
func scaleAVX512(y, x, weight *float32, n int, scale float32)

//go:noescape
func rotateAVX512(lo, hi, cos, sin *float32, n int)

var avx512Assembly = &assembly{
	width: 16, rows: 12,
	many: products12AVX512BF16, manyF32: products12AVX512F32,
	four: products4AVX512BF16, fourF32: products4AVX512F32,
	one: products1AVX512BF16, oneF32: products1AVX512F32,
	softmax: softmaxAVX512, mergeStates: mergeStatesAVX512,
	mergeRows: mergeRowsAVX512, divideRows: divideRowsAVX512,
	gate: func(y, gate, up []float32) { gateAVX512(&y[0], &gate[0], &up[0], len(y)) },
	exp:  expAVX512, roundBF16: roundBF16AVX512, sumSquares: sumSquaresAVX512,
	scale: scaleAVX512, rotate: rotateAVX512,
}

var avx512Vectors = avx512Assembly.vectors()
