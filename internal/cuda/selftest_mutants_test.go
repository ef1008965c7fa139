//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/kernels/emulator"
)

// Mistakes in kernels, and the verdicts FAIL that each must end in: of the kernels with the mistake, and of
// no other.
var selfTestMutants = []struct {
	name         string
	file         string
	old, mistake string
	kernel       string // whose group is run
	fails        string // kernels, as a regular expression
	may          string // likewise, of kernels in whose results rounding to bfloat16 may hide the mistake
}{
	{
		name: "embed leaves out the last column", file: "embed.cu",
		old: "i < args.cols; i += EMBED_THREADS)", mistake: "i < args.cols - 1; i += EMBED_THREADS)",
		kernel: "embed", fails: "embed",
	},
	{
		name: "copy_rows copies the next row", file: "copy_rows.cu",
		old: "args.rows[blockIdx.x]", mistake: "(args.rows[blockIdx.x] ^ 1)",
		kernel: "copy_rows", fails: "copy_rows",
	},
	{
		name: "the highest id wins a tie", file: "argmax.cu",
		old: "other_id < id", mistake: "other_id > id",
		kernel: "argmax", fails: "argmax",
	},
	{
		name: "RMSNorm without half of a warp", file: "rms_norm.cuh",
		old: "int distance = 16;", mistake: "int distance = 8;",
		kernel: "rms_norm", fails: "rms_norm",
	},
	{
		name: "the references without the last column", file: "reference_linear.cu",
		old: "c < args.k; c++", mistake: "c < args.k - 1; c++",
		kernel: "reference_linear", fails: "reference_.*",
	},
	{
		name: "float16 weights without their low half", file: "linear.cuh",
		old: "mma_bf16(acc[n], low, x[n]);", mistake: ";",
		kernel: "linear_decode_bf16", fails: "[a-z_]+_f16",
	},
	{
		name: "a zero of Q6_K that is too small", file: "quants_layout.h",
		old: "LAYOUT(Q6_K, 6, 32,", mistake: "LAYOUT(Q6_K, 6, 31,",
		kernel: "linear_decode_bf16", fails: "[a-z_]+_quantized",
	},
	{
		name: "the references of quantized weights without the last column", file: "reference_linear.cu",
		old: "c < args.k; c += UNPACKED", mistake: "c < args.k - UNPACKED; c += UNPACKED",
		kernel: "reference_linear", fails: "reference_.*",
	},
	{
		name: "decode adds segments in another order", file: "linear_decode.cu",
		old:     "add_segments(total, &sm.sums[turn][0][lane], 32, segments);",
		mistake: "add_segments(total, &sm.sums[turn][segments - 1][lane], -32, segments);",
		kernel:  "linear_decode_bf16", fails: "(norm_)?linear_(add_)?decode_(bf16|f16)",
		may: "(norm_)?gate_up_decode_(bf16|f16)",
	},
	{
		name: "quantized decode adds segments in another order", file: "linear_decode_quantized.cu",
		old:     "add_segments(total, &sm.sums[turn][0][lane], 32, segments);",
		mistake: "add_segments(total, &sm.sums[turn][segments - 1][lane], -32, segments);",
		kernel:  "linear_decode_bf16", fails: "(norm_)?linear_(add_)?decode_quantized",
		may: "(norm_)?gate_up_decode_quantized",
	},
	{
		name: "batch adds segments in another order", file: "linear_batch.cu",
		old:     "add_segments(total, &shared_sums[0][warp][lane], TOKEN_TILES * 32, segments);",
		mistake: "add_segments(total, &shared_sums[segments - 1][warp][lane], -TOKEN_TILES * 32, segments);",
		kernel:  "linear_decode_bf16", fails: "linear_(add_)?batch_(bf16|f16|quantized)",
		may: "gate_up_batch_(bf16|f16|quantized)",
	},
	{
		name: "prefill with swapped fragments", file: "linear_prefill.cu",
		old:     "x[n][1] = r[1];\n\t\t\tx[n + 1][0] = r[2];",
		mistake: "x[n][1] = r[2];\n\t\t\tx[n + 1][0] = r[1];",
		kernel:  "linear_decode_bf16", fails: "[a-z_]+_prefill_(bf16|f16|quantized)",
	},
	{
		name: "gates for ups", file: "linear.cuh",
		old: "silu(sum[i]) * sum[2 + i]", mistake: "silu(sum[2 + i]) * sum[i]",
		kernel: "linear_decode_bf16", fails: "(norm_)?gate_up_(decode|batch|prefill)_(bf16|f16|quantized)",
	},
	{
		name: "KV append to the next position's block", file: "kv_append.cu",
		old: "position / KV_CHUNK", mistake: "(position + 1) / KV_CHUNK",
		kernel: "kv_append", fails: "kv_append|attention_.*|reference_attention",
	},
	{
		name: "decode: a query does not see itself", file: "attention_decode.cu",
		old: "key <= position", mistake: "key < position",
		kernel: "kv_append", fails: "attention_decode_.*",
	},
	{
		name: "prefill: maxima of another row", file: "attention_prefill.cu",
		old: "__shfl_xor_sync(~0u, chunk_top, 2)", mistake: "__shfl_xor_sync(~0u, chunk_top, 4)",
		kernel: "kv_append", fails: "attention_prefill_.*",
	},
	{
		name: "references: a factor too small", file: "reference_attention.cu",
		old: "out[j] *= 1 / total;", mistake: "out[j] *= 0.9999f / total;",
		kernel: "kv_append", fails: "reference_attention",
	},
}

// TestSelfTestOfMutant is for the processes of the test below: it prints the verdicts on one group of
// kernels.
func TestSelfTestOfMutant(t *testing.T) {
	kernel := os.Getenv("PHI3_TEST_SELFTEST")
	if kernel == "" {
		t.Skip("for TestSelfTestFindsMutants")
	}
	r, err := selfTest(context.Background(), Options{}, selfTestSettings{only: kernel})
	require.NoError(t, err)
	for _, k := range r.Kernels {
		fmt.Printf("verdict %s of %s: %s\n", k.Verdict, k.Kernel, k.Note)
	}
	require.False(t, r.Passed)
}

// TestSelfTestFindsMutants plants mistakes in the kernels: the self-test must say which kernels are wrong.
func TestSelfTestFindsMutants(t *testing.T) {
	forTheEmulator(t)
	verdict := regexp.MustCompile(`verdict (exact|ok|differs|FAIL|not done) of (\S+):.*`)
	room := make(chan struct{}, 2) // at once: each compiles for some seconds
	for _, m := range selfTestMutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			change := emulator.Mutant{File: m.file, Old: m.old, Mistake: m.mistake}
			if m.kernel != "kv_append" {
				change.Heads = []int{} // attention is of that group
			}
			library, err := emulator.BuildMutant(t.TempDir(), emulator.Fast, change)
			require.NoError(t, err)
			output, err := runOn(t, library, "^TestSelfTestOfMutant$", "PHI3_TEST_SELFTEST="+m.kernel)
			require.NoError(t, err, output)
			fails, may := regexp.MustCompile("^("+m.fails+")$"), regexp.MustCompile("^("+m.may+")$")
			found := verdict.FindAllStringSubmatch(output, -1)
			require.NotEmpty(t, found, output)
			for _, f := range found {
				if !may.MatchString(f[2]) {
					require.Equal(t, fails.MatchString(f[2]), f[1] == string(VerdictFail), f[0])
				}
			}
		})
	}
}
