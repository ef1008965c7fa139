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

// Mistakes in kernels, and the verdicts FAIL that each must end in: of the kernels with the mistake, and of no other.
var selfTestMutants = []struct {
	name         string
	file         string
	old, mistake string
	kernel       string // whose group is run
	fails        string // kernels, as a regular expression
}{
	{"embed leaves out the last column", "embed.cu", "i < args.cols;", "i < args.cols - 1;", "embed", "embed"},
	{"copy_rows copies the next row", "copy_rows.cu", "args.rows[blockIdx.x]", "(args.rows[blockIdx.x] ^ 1)", "copy_rows", "copy_rows"},
	{"the highest id wins a tie", "argmax.cu", "other_id < id", "other_id > id", "argmax", "argmax"},
	{"RMSNorm without half of a warp", "rms_norm.cuh", "int distance = 16;", "int distance = 8;", "rms_norm", "rms_norm"},
	{"the references without the last column", "reference_linear.cu", "c < args.k;", "c < args.k - 1;", "reference_linear", "reference_.*"},
	{
		"float16 weights without their low half", "linear.cuh", "mma_bf16(acc[n], low, x[n]);", ";", "linear_decode_bf16",
		"[a-z_]+_f16",
	},
	{
		"decode adds segments in another order", "linear_decode.cu", "for (int s = 0; s < segments; s++) {",
		"for (int s = segments - 1; s >= 0; s--) {", "linear_decode_bf16", "(norm_)?linear_(add_)?decode_(bf16|f16)", // bfloat16 hides it
	},
	{
		"prefill with swapped fragments", "linear_prefill.cu", "x[n][1] = r[1];\n\t\t\tx[n + 1][0] = r[2];",
		"x[n][1] = r[2];\n\t\t\tx[n + 1][0] = r[1];", "linear_decode_bf16", "[a-z_]+_prefill_(bf16|f16)",
	},
	{
		"gates for ups", "linear.cuh", "silu(sum[i]) * sum[2 + i]", "silu(sum[2 + i]) * sum[i]", "linear_decode_bf16",
		"(norm_)?gate_up_(decode|prefill)_(bf16|f16)",
	},
	{
		"KV append to the next position's block", "kv_append.cu", "position / KV_CHUNK", "(position + 1) / KV_CHUNK", "kv_append",
		"kv_append|attention_.*|reference_attention",
	},
	{
		"decode: a query does not see itself", "attention_decode.cu", "key <= position", "key < position", "kv_append", "attention_decode_.*",
	},
	{
		"prefill: maxima of another row", "attention_prefill.cu", "__shfl_xor_sync(~0u, chunk_top, 2)", "__shfl_xor_sync(~0u, chunk_top, 4)",
		"kv_append", "attention_prefill_.*",
	},
	{
		"references: a factor too small", "reference_attention.cu", "out[j] *= 1 / total;", "out[j] *= 0.9999f / total;", "kv_append",
		"reference_attention",
	},
}

// TestSelfTestOfMutant is for the processes of the test below: it prints the verdicts on one group of kernels.
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
	verdict := regexp.MustCompile(`verdict (exact|ok|differs|FAIL|not run) of (\S+):.*`)
	room := make(chan struct{}, 2) // at once: each compiles for some seconds
	for _, m := range selfTestMutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			library, err := emulator.BuildMutant(t.TempDir(), emulator.Fast, m.file, m.old, m.mistake)
			require.NoError(t, err)
			output, err := runOn(t, library, "^TestSelfTestOfMutant$", "PHI3_TEST_SELFTEST="+m.kernel)
			require.NoError(t, err, output)
			fails := regexp.MustCompile("^(" + m.fails + ")$")
			found := verdict.FindAllStringSubmatch(output, -1)
			require.NotEmpty(t, found, output)
			for _, f := range found {
				require.Equal(t, fails.MatchString(f[2]), f[1] == string(VerdictFail), f[0])
			}
		})
	}
}
