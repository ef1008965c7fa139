package cpu

// The arguments of the loops in assembly: one struct for each kind of loop, shared by all processors.
//
// A function in assembly takes one pointer and reads the fields by name. The compiler writes the names and
// offsets to go_asm.h for each processor (dotArgs_stride is the offset of dotArgs.stride), so the assembly
// cannot disagree with these structs. Strides and distances are in bytes, all other numbers in elements.
//
// The loops of a path are called through variables, and the compiler moves the arguments of such a call to
// the heap if they are on the stack. So each worker keeps one struct of each kind in its scratch memory.

// dotArgs are dot products of weight rows with the values of one token or of a group of tokens, see
// laneKernels.one and laneKernels.several.
type dotArgs struct {
	sums   *float32 // running sums
	rows   *byte    // the first weight row, at any address
	stride int      // from a row to the next row of the band
	next   int      // from a band of rows to the next band; groups only
	bands  int      // how many bands of rows, at least 1; groups only
	ahead  int      // from a row to the row to prefetch
	pace   int      // how much of a row to prefetch is passed in a step; groups only
	x      *float32 // the values of the tokens, as laneKernels.pack lays them out
	k      int      // products per row, a multiple of the step
	scales *byte    // quantized weights of one token only: memory for the scales of some blocks, 768 bytes
	back   int      // if not 0: one more step, whose weights begin this far before the end of the k weights
}

// kvArgs are products of attention, c += a·b, see assembly. b is a part of a [kvMatrix].
type kvArgs struct {
	c       *float32 // the result, [rows, cols]
	cStride int      // from a row of c to the next row
	a       *float32 // the queries or their weights, [rows, 2·pairs]
	aStride int      // from a row of a to the next row
	b       *byte    // the keys or the values, [pairs, 2, cols]
	bStride int      // from a pair of rows of b to the next pair
	pairs   int      // pairs of rows of b, at least 1
	cols    int      // columns of b and c: a multiple of 32, at least 32
	ahead   int      // from b to the matrix to prefetch
}
