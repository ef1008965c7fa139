package cpu

// The functions of vectors_arm64.s, see assembly. A number in a name is how many rows a call takes.

//go:noescape
func products4NEONBF16(args *kvArgs)

//go:noescape
func products4NEONF32(args *kvArgs)

//go:noescape
func products1NEONBF16(args *kvArgs)

//go:noescape
func products1NEONF32(args *kvArgs)

//go:noescape
func softmaxNEON(x *float32, rows, cols int, scale float32, top, total *float32)

//go:noescape
func mergeRowsNEON(out, sum, old, add *float32, rows, cols int)

// gateNEON takes an n that is a multiple of 4, at least 4.
//
//go:noescape
func gateNEON(y, gate, up *float32, n int)

// neonVectors are in assembly for the loops that take most of the time, and in Go for the others.
var neonVectors = func() *vectors {
	s := &assembly{
		width: 4, rows: 4, many: products4NEONBF16, manyF32: products4NEONF32,
		four: products4NEONBF16, fourF32: products4NEONF32,
		one: products1NEONBF16, oneF32: products1NEONF32, softmax: softmaxNEON, mergeRows: mergeRowsNEON,
	}
	v, all := *goVectors, s.vectors()
	v.addProducts, v.softmax, v.mergeRows, v.gate = all.addProducts, all.softmax, all.mergeRows, gateNEONAny
	return &v
}()

// gateNEONAny is vectors.gate. (As a method of assembly it would allocate the arrays on the heap.)
func gateNEONAny(y, gate, up []float32) {
	n := len(y) &^ 3
	if n > 0 {
		gateNEON(&y[0], &gate[0], &up[0], n)
	}
	if n < len(y) {
		var out, g, u [4]float32
		copy(g[:], gate[n:])
		copy(u[:], up[n:])
		gateNEON(&out[0], &g[0], &u[0], 4)
		copy(y[n:], out[:])
	}
}
