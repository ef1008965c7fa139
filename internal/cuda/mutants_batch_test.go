//go:build cuda && linux && cgo

package cuda

const (
	testBatch9  = "^TestLinearBatch$/bf16_tokens=9_"
	testBatch33 = "^TestLinearBatch$/bf16_tokens=33_"
	testBatch   = "^TestBatchWaits$"

	batchInputs = "#pragma unroll 1\n" +
		"\tfor (int i = 0; i < args.stages - 1; i++, requests.advance()) {\n" +
		"\t\trequests.request_inputs();\n\t\tcp_async_commit();\n\t}\n"
)

// batchMutants are mistakes in the products for 9 to 64 tokens.
var batchMutants = []mutant{
	{
		"batch: stages read before all lanes' parts have come", "linear_batch.cu",
		"__syncwarp(); // all lanes' parts", "// all lanes' parts", testBatch9, race,
	},
	{
		"batch: waits for too few copies", "linear_batch.cu",
		"cp_async_wait<LINEAR_BATCH_MAX_STAGES - 2>()", "cp_async_wait<LINEAR_BATCH_MAX_STAGES - 1>()",
		testBatch9, inFlight,
	},
	{
		"batch: ring one stage too far ahead", "linear_batch.cu",
		"i < args.stages - 1; i++, requests.advance())", "i < args.stages; i++, requests.advance())",
		testBatch33, race + "|" + unwritten + "|" + wrongResult,
	},
	{
		"batch: sums overwritten before they are added", "linear_batch.cu",
		"__syncthreads(); // they are no longer read", "// they are no longer read", testBatch9, race,
	},
	{
		"batch: tokens that do not exist", "linear_batch.cu",
		"lane_row() < args.tokens - n && col < args.k", "col < args.k", testBatch9, outside,
	},
	{
		"batch: missing wait", "linear_batch.cu",
		"wait_for_predecessor();", "", testBatch, tooEarly + "|" + neverWaits,
	},
	{
		"batch: inputs requested before the wait", "linear_batch.cu",
		"wait_for_predecessor();\n" + batchInputs, batchInputs + "\twait_for_predecessor();\n",
		testBatch, tooEarly,
	},
	{
		"batch: rows of the wrong tile", "linear_batch.cu",
		"m * OUTPUTS < rows && col", "0 < rows && col", testBatch33, outside,
	},
}
