//go:build cuda && linux && cgo

package cuda

const (
	testJoin80 = "^TestAttentionJoin$/heads_of_80,"
	testJoin96 = "^TestAttentionJoin$/heads_of_96,"
)

// joinMutants are mistakes in the join of attention's chunks.
var joinMutants = []mutant{
	{
		"join: chunks in the wrong order", "attention_decode.cu",
		"for (int i = 0; i < count; i++) {", "for (int i = count - 1; i >= 0; i--) {",
		testAttention262, wrongResult,
	},
	{
		"join: factors read before all lanes have stored them", "attention_decode.cu",
		"__syncwarp(); // the factors and this stage", "// the factors and this stage",
		testAttention262, raceOrUnwritten,
	},
	{
		"join: factors overwritten while they are read", "attention_decode.cu",
		"__syncwarp(); // the factors before", "// the factors before", testJoin80, race,
	},
	{
		"join: waits for too few copies", "attention_decode.cu",
		"cp_async_wait<STAGES - 2>()", "cp_async_wait<STAGES - 1>()", testAttention262, inFlight,
	},
	{
		"join: ring one stage too far ahead", "attention_decode.cu",
		"const int free = slot == 0 ? STAGES - 1 : slot - 1;", "const int free = slot;", testJoin80, race,
	},
	{
		"join: the next item's keys overwrite the ring", "attention_decode.cu",
		"__syncthreads(); // shared memory may be overwritten", "// shared memory may be overwritten",
		testJoin96, race,
	},
}

const (
	testWaits = "^TestAttentionWaits$/heads_of_64"
	tooEarly  = "before wait_for_predecessor|has not waited"
)

// waitMutants are mistakes of attention in dependent launches.
var waitMutants = []mutant{
	{
		"attention, decode: qkv read before the wait", "attention_decode.cu",
		"wait_for_predecessor();\n\tfor (int i", "for (int i", testWaits, tooEarly,
	},
	{
		"attention, decode: blocks without items do not wait", "attention_decode.cu",
		"wait_for_predecessor(); // blocks without items", "// blocks without items", testWaits,
		"ends without wait_for_predecessor",
	},
	{
		"attention, prefill: the cache is read before the wait", "attention_prefill.cu",
		"wait_for_predecessor(); // the cache has this step's keys and values\n\tload(first_chunk, 0);",
		"load(first_chunk, 0);\n\twait_for_predecessor();", testWaits, tooEarly,
	},
}
