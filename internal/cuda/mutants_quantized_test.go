//go:build cuda && linux && cgo

package cuda

const (
	testQuantized1  = "^TestLinearQuantized$/Q4_0_tokens=1_rows=1_"
	testQuantized8  = "^TestLinearQuantized$/Q3_K_tokens=8_"
	testQuantized33 = "^TestLinearQuantized$/Q4_K_tokens=33_"
	testQuantized3  = "^TestLinearQuantized$/Q4_K_tokens=3_"
	testQuantized9  = "^TestLinearQuantized$/Q5_0_tokens=9_"
	testQuantized4  = "^TestLinearQuantized$/Q4_1_tokens=4_"
	testUnpack      = "^TestUnpack$"
	testQuantWaits  = "^TestQuantizedWaits$"
)

// quantizedMutants are mistakes in what only quantized weights need.
var quantizedMutants = []mutant{
	{
		"quantized, decode: missing wait", "linear_decode_quantized.cu",
		"wait_for_predecessor();", "", testQuantWaits, tooEarly + "|" + neverWaits,
	},
	{
		"quantized, decode: input read before the wait", "linear_decode_quantized.cu",
		"wait_for_predecessor();\n\tif constexpr (NORM)\n\t\tnorm_tokens(args, sm, normed);",
		"if constexpr (NORM)\n\t\tnorm_tokens(args, sm, normed);\n\twait_for_predecessor();",
		testQuantWaits, tooEarly,
	},
	{
		"quantized, decode: stages read before all lanes' parts have come", "linear_decode_quantized.cu",
		"__syncwarp();                       // all lanes'", "// all lanes'", testQuantized3, raceOrUnwritten,
	},
	{
		"quantized, decode: waits for too few copies", "linear_decode_quantized.cu",
		"cp_async_wait<Stages::COUNT - 2>()", "cp_async_wait<Stages::COUNT - 1>()", testQuantized3, inFlight,
	},
	{
		"quantized, decode: ring one stage too far ahead", "linear_decode_quantized.cu",
		"i < Stages::COUNT - 1; i++)", "i < Stages::COUNT; i++)", testQuantized3, race,
	},
	{
		"quantized, decode: scales used before all lanes have decoded them", "linear_decode_quantized.cu",
		"__syncwarp(); // all scales", "// all scales", testQuantized3, raceOrUnwritten,
	},
	{
		"quantized, decode: scale of the other group", "linear_decode_quantized.cu",
		"s[p * GROUPS / 8]", "s[p * GROUPS / 8 ^ 1]", testQuantized3, wrongResult,
	},
	{
		"quantized, decode: d of another super-block", "linear_decode_quantized.cu",
		"first_advance = first % 2 * tail_bytes;", "first_advance = tail_bytes;", testQuantized33,
		wrongResult,
	},
	{
		"quantized, decode: a step of another segment", "linear_decode_quantized.cu",
		"odd == 0 ? step < first : step >= end", "step >= end", testQuantized33, wrongResult,
	},
	{
		"quantized, decode: a row group that does not exist", "linear_decode_quantized.cu",
		"EPILOGUE == GATE_UP || group + (int)gridDim.x < groups", "true", testQuantized1, outside,
	},
	{
		"quantized, decode: a row group that does not exist, after two that do", "linear_decode_quantized.cu",
		"to_next - (second[i] && !tiles.has_second() ? to_second : 0)", "to_next", testQuantized9, outside,
	},
	{
		"quantized, decode: row groups of blocks that have none", "linear_decode_quantized.cu",
		"tiles.has_tile() ? (end_stage - first) * stage_bytes : 0;", "(end_stage - first) * stage_bytes;",
		testQuantized4, outside,
	},
	{
		"quantized, decode: warps without columns do not prefetch", "linear_decode_quantized.cu",
		"at = end == 0;", "at = 0;", testPrefetch, wrongResult,
	},
	{
		"quantized, decode: prefetches twice", "linear_decode_quantized.cu",
		"next.prefetch();\n\t\t\tat = 0;", "next.prefetch();", testPrefetch, wrongResult,
	},
	{
		"quantized, decode: the second row group of a tile is left out", "linear_decode_quantized.cu",
		"if (tiles.has_second())", "if (EPILOGUE == GATE_UP)", testQuantized3, wrongResult,
	},
	{
		"quantized, decode: the next tile begins where this one's second row group is",
		"linear_decode_quantized.cu", "return EPILOGUE == GATE_UP ? gridDim.x : 2 * gridDim.x;",
		"return gridDim.x;", testQuantized3, wrongResult,
	},
	{
		"quantized, decode: a tile's second row group is that of the rows below",
		"linear_decode_quantized.cu",
		"tiles.to_second() * QUANT_ROWS", "QUANT_ROWS", testQuantized33, wrongResult,
	},
	{
		"quantized, decode: gates instead of their ups", "linear_decode_quantized.cu",
		"return EPILOGUE == GATE_UP ? groups : (int)gridDim.x;", "return gridDim.x;", testQuantized3,
		wrongResult,
	},
	{
		"quantized, decode: a bit of the high plane", "quants_fragment.cuh",
		"move_bits(row.high, 1, 8 * byte + set, 2)", "move_bits(row.high, 1, 8 * byte + set, 1)",
		testQuantized8, wrongResult,
	},
	{
		"quantized, prefill: stages read before all threads have stored", "linear_prefill.cu",
		"__syncthreads(); // all threads' parts", "// all threads' parts", testQuantized9, race,
	},
	{
		"quantized: weights that do not exist", "linear.cuh",
		"valid ? unpack8(args.w, row, col, args.k, args.type) : make_uint4(0, 0, 0, 0)",
		"unpack8(args.w, row, col, args.k, args.type)", testQuantized9, outside,
	},
	{
		"quantized: the wrong type of weights", "linear.cuh",
		"unpack8(args.w, row, col, args.k, args.type)", "unpack8(args.w, row, col, args.k, TYPE_Q5_0)",
		testQuantized3, outside + "|" + wrongResult,
	},
	{
		"quantized: embedding not rounded", "quants.cuh",
		"bf16_to_float(float_to_bf16(packed_weight(u, e)))", "packed_weight(u, e)", testUnpack, wrongResult,
	},
	{
		"quantized: words that are not aligned", "quants.cuh",
		"layout.high + 4 * lane)", "layout.high + 2 * lane)", testUnpack, misaligned,
	},
	{
		"quantized: row groups too long", "quants.cuh",
		"k / 256 * layout.tail_bytes;", "(k / 256 + 1) * layout.tail_bytes;", testUnpack,
		outside + "|" + wrongResult,
	},
	{
		"quantized: the tail of other columns", "quants.cuh",
		"col / 256 * layout.tail_bytes", "col / 512 * layout.tail_bytes", testUnpack, wrongResult,
	},
	{
		"quantized: fifth bits of other weights", "quants.cuh",
		"s + t % 2 * 4", "s + t / 2 * 4", testUnpack, wrongResult,
	},
	{
		"quantized: scales of Q6_K without sign", "quants.cuh",
		"(float)(scales[at16] - 128)", "(float)scales[at16]", testUnpack, wrongResult,
	},
	{
		"quantized: minimum of Q4_K of the other group", "quants.cuh",
		"scales[2 * at32 + 1]", "scales[2 * (at32 ^ 1) + 1]", testUnpack, wrongResult,
	},
	{
		"quantized: a value of the table of IQ4_NL", "quants.cuh",
		"q < 8 ?", "q < 9 ?", testUnpack, wrongResult,
	},
}
