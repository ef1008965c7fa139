package cpu

import "unsafe"

// The arguments of the loops for AMX, see args.go. A tile is a tile register: up to 16 rows of up to 64
// bytes. A step is 32 values of k: a tile of weights and a tile of tokens, 1 KiB each. All counts are at
// least 1. Addresses that are only prefetched are uintptr, because they need not exist.

// tileRowsArgs are products of 16 weight rows, read where they are, with up to 64 tokens; for weights in two
// parts, of twice 16 packed rows with up to 16 tokens. See the functions of amx_amd64.go.
type tileRowsArgs struct {
	config *byte    // the sizes of the tiles, one of tileConfigs
	sums   *float32 // the results
	w      *byte    // the first weight row
	stride int      // from a weight row to the next row
	next   int      // from a step of a weight row to the next step
	second int      // two parts only: from the first 16 rows to the second 16 rows
	x      *byte    // the tokens
	width  int      // up to 16 tokens: the bytes of a row of sums, 4 for each token
	group  int      // 64 tokens: from the first 32 tokens to the second 32 tokens
	steps  int
	fresh  bool    // the sums begin at 0, not at what they are
	then   uintptr // 16 rows with the same stride, of which the first 8 steps are prefetched at the end
}

// tileBandsArgs are products of bands of 32 packed weight rows with 32 tokens.
type tileBandsArgs struct {
	config     *byte    // tileConfigs.full
	sums       *float32 // [bands, 2, 2, 16, 16] the results
	w          *byte    // [bands, steps, 2, 16, 32]; in two parts [bands, steps, 2 parts, 2, 16, 32]
	x          *byte    // [steps, 2, 16, 16, 2] the tokens
	steps      int
	bands      int
	fresh      bool    // as in tileRowsArgs
	nextX      uintptr // as many bytes as x, prefetched into the second-level cache
	nextW      uintptr // 2·bands weight rows, of which as many steps are prefetched
	nextStride int     // from a row of nextW to the next row
}

// packArgs describe a copy of weight rows or tokens into the order of tiles.
type packArgs struct {
	to     *byte
	from   unsafe.Pointer // the first weight row, or the first token's float32 values
	stride int            // from a row or token to the next one
	rows   int            // rows or tokens, up to 16
	steps  int
	next   int // from a tile to the tile of the next step
	second int // weights in two parts: from the first part's tile to the second part's
	pair   int // tokens: from a pair of k to the next pair
}

// tileKVArgs are products of attention as in kvArgs, but c = (high + low)·b.
type tileKVArgs struct {
	config  *byte    // one of attentionTiles
	c       *float32 // the result, [rows, cols]
	cStride int      // from a row of c to the next row
	high    *byte    // [rows, 32·steps] of bfloat16
	low     *byte    // [rows, 32·steps] of bfloat16
	aStride int      // from a row of high or low to the next row
	b       *byte    // [16·steps, 2, cols] of bfloat16
	bStride int      // from a pair of rows of b to the next pair
	steps   int
	cols    int // a multiple of 32
	ahead   int // from b to the matrix to prefetch; 0: none
}
