//go:build cuda && linux && cgo

package cuda

const testJoin80 = "^TestAttentionJoin$/heads_of_80,"

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
		testAttention258, race,
	},
}
