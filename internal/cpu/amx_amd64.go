package cpu

import "phi3/internal/weight"

// The functions of amx_amd64.s. The names are as in lanes8.go; Tiles stands for sums in tile registers. Those
// for float16 read weights in two parts of bfloat16, and the sums take a step's first part, then its second
// part.

// dot16x16TilesBF16 sets sums [16, tokens] to the products of 16 rows with up to 16 tokens, x [steps, 16,
// tokens, 2].
//
//go:noescape
func dot16x16TilesBF16(args *tileRowsArgs)

// dot16x32TilesBF16 sets the first half of sums [4, 16, 16] to the products of 16 rows with 32 tokens, x
// [steps, 2, 16, 16, 2].
//
//go:noescape
func dot16x32TilesBF16(args *tileRowsArgs)

// dot16x64TilesBF16 sets all of sums [4, 16, 16] to the products of 16 rows with 64 tokens.
//
//go:noescape
func dot16x64TilesBF16(args *tileRowsArgs)

// dot32x16TilesF16 sets sums [2, 16, tokens] to the products of twice 16 packed rows with up to 16 tokens.
// Each 16 rows are [steps, 2 parts, 16, 32].
//
//go:noescape
func dot32x16TilesF16(args *tileRowsArgs)

//go:noescape
func dot32x32TilesBF16(args *tileBandsArgs)

//go:noescape
func dot32x32TilesF16(args *tileBandsArgs)

// packRowsBF16 copies weight rows into tiles [16, 32].
//
//go:noescape
func packRowsBF16(args *packArgs)

// packRowsF16 does the same with float16, each as the sum of two bfloat16: the upper 8 bits of its
// significand, and the other bits.
//
//go:noescape
func packRowsF16(args *packArgs)

// packTokens copies the upper halves of the values of tokens into tiles [16 pairs of k, 16 tokens, 2].
//
//go:noescape
func packTokens(args *packArgs)

// narrowBF16 copies the upper halves of x [n], each 32 of them to a place that is stride bytes after the one
// before. n is a multiple of 32, at least 32.
//
//go:noescape
func narrowBF16(to *byte, stride int, x *float32, n int)

// packPairs copies the upper halves of x [2·pairs, n], whose rows are stride bytes apart, to [pairs, n, 2
// rows], toStride bytes apart, and returns whether all are finite. n is a multiple of 16.
//
//go:noescape
func packPairs(to *byte, toStride int, x *float32, stride, pairs, n int) (finite bool)

// storeTile writes sums [16, 16] of up to 16 rows and tokens to the matrix at to, which has a row for each
// token, stride bytes apart.
//
//go:noescape
func storeTile(to *float32, stride int, sums *float32, rows, tokens int)

// streamTile does the same past the caches. rows is 16, and to and stride are multiples of 64.
//
//go:noescape
func streamTile(to *float32, stride int, sums *float32, rows, tokens int)

// addTile adds the sums to the matrix instead.
//
//go:noescape
func addTile(to *float32, stride int, sums *float32, rows, tokens int)

// amxCompute multiplies and adds four pairs of tiles, n times.
//
//go:noescape
func amxCompute(config *byte, n int)

var amxKernels = &kernels{
	name: "amx", maxTokens: amxBlockTokens,
	linear: func(w weight.Format, float32 bool) *linearKernels {
		if float32 || w == weight.F32 {
			return avx512Linear
		}
		return amxLinear
	},
	unpackers: pairsUnpackers, vectors: amxVectors, read: avx2Read,
	compute: func() float64 {
		const n = 2_000
		amxCompute(&tileConfigs.full[0], n)
		return n * 4 * 16 * 16 * 32 * 2
	},
}

var amxLinear = &linearKernels{
	panelRows: amxPanelRows, pack: amxPack, multiply: amxMultiply,
	packItems: func(tokens int) (items, size int) { return (tokens + 31) / 32, 32 },
	scratch: func(_, maxTokens int) scratchSize {
		return scratchSize{
			packed: amxMaxRows * amxStretchSteps * 64 * 2, unpacked: 16 * 32 * amxStretchSteps,
			sums: upTo32(min(maxTokens, amxBlockTokens)) * amxMaxRows,
		}
	},
	packedBytes: func(tokens, k int) int {
		if tokens <= 16 {
			return upTo32(k) * 16 * 2
		}
		return upTo32(tokens) * upTo32(k) * 2
	},
}

const (
	// A panel for many tokens has up to 256 rows, so that the tokens, which come from the last-level cache,
	// are multiplied often enough. A stretch of 512 of k of the panel (256 KB) stays in the second-level
	// cache while all tokens pass, together with the sums of 512 tokens (512 KB). A stretch of 32 tokens (32
	// KB) stays in the first-level cache while the rows pass.
	amxMaxRows      = 256
	amxStretchSteps = 16
	amxBlockTokens  = 512
	// amxFewStretch is how many of k of twice 16 rows are packed at once for up to 64 tokens: two parts of
	// them are 256 KB.
	amxFewStretch = 2048
)

// tileConfigs are the sizes of the eight tiles: 16 rows of 64 bytes. For a single token, the sums (T0, T1)
// and the tokens' 16 pairs of k (T6) have one column.
var tileConfigs = func() (c struct{ full, single [64]byte }) {
	for _, c := range []*[64]byte{&c.full, &c.single} {
		c[0] = 1 // palette
		for tile := range 8 {
			c[16+2*tile], c[48+tile] = 64, 16
		}
	}
	c.single[16+2*0], c.single[16+2*1], c.single[16+2*6] = 4, 4, 4
	return c
}()

// amxPanelRows returns few rows where the weights are read once, and many where the tokens are read again for
// every panel. There must be enough panels for the threads.
func amxPanelRows(tokens, cols, threads int) int {
	if tokens <= 16 {
		return 32
	}
	return min(amxMaxRows, max(32, cols/(4*threads)/32*32))
}
