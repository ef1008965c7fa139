//go:build cuda && linux && cgo

package cuda

const (
	testQuantized3 = "^TestLinearQuantized$/Q4_K_tokens=3_"
	testQuantized9 = "^TestLinearQuantized$/Q5_0_tokens=9_"
	testUnpack     = "^TestUnpack$"
)

// quantizedMutants are mistakes in what only quantized weights need.
var quantizedMutants = []mutant{
	{
		"quantized, decode: stages read before all lanes have stored", "linear_decode.cu",
		"__syncwarp();                              // all lanes", "// all lanes", testQuantized3, race,
	},
	{
		"quantized, decode: ring one stage too far ahead", "linear_decode.cu",
		"i < LINEAR_DECODE_STAGES - 1; i++)", "i < LINEAR_DECODE_STAGES; i++)", testQuantized3, race,
	},
	{
		"quantized, prefill: stages read before all threads have stored", "linear_prefill.cu",
		"__syncthreads(); // all threads' parts", "// all threads' parts", testQuantized9, race,
	},
	{
		"quantized: weights that do not exist", "linear.cuh",
		"valid ? unpack8(args.w, first, args.type) : make_uint4(0, 0, 0, 0)",
		"unpack8(args.w, first, args.type)", testQuantized9, outside,
	},
	{
		"quantized: the wrong type of weights", "linear.cuh",
		"unpack8(args.w, first, args.type)", "unpack8(args.w, first, TYPE_Q5_0)", testQuantized3,
		outside + "|" + wrongResult,
	},
	{
		"quantized: embedding not rounded", "quants.cuh",
		"bf16_to_float(float_to_bf16(packed_weight(u, e)))", "packed_weight(u, e)", testUnpack, wrongResult,
	},
	{
		"quantized: odd address", "quants.cuh",
		"load8(small + 2 + i)", "load8(small + 1 + i)", testUnpack, misaligned,
	},
	{
		"quantized: blocks too long", "quants.cuh",
		"first / 256 * 136", "first / 256 * 138", testUnpack, outside,
	},
	{
		"quantized: fifth bits of other weights", "quants.cuh",
		"spread(bits >> 4)", "spread(bits >> 5)", testUnpack, wrongResult,
	},
	{
		"quantized: scales of Q6_K without sign", "quants.cuh",
		"(float)(signed char)super", "(float)super", testUnpack, wrongResult,
	},
	{
		"quantized: minimum of Q4_K without its upper bits", "quants.cuh",
		"packed[g + 4] >> 4 | packed[g] >> 6 << 4", "packed[g + 4] >> 4", testUnpack, wrongResult,
	},
	{
		"quantized: a value of the table of IQ4_NL", "quants.cuh",
		"q < 8 ?", "q < 9 ?", testUnpack, wrongResult,
	},
}
