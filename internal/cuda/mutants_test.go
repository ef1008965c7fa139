//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/kernels/emulator"
)

// runOn runs tests of this package in their own process, on another build of the emulator.
func runOn(t *testing.T, library, tests string, env ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", tests, "-test.failfast")
	cmd.Env = append(append(os.Environ(), env...), "PHI3_TEST_EMULATOR="+library)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// forTheEmulator skips tests that need more than the emulator's fast build, or are run by such a test.
func forTheEmulator(t *testing.T) {
	if onGPU || checked {
		t.Skip("for the emulator")
	}
	if testing.Short() {
		t.Skip("takes a while")
	}
	t.Parallel()
}

// The tests that a checked build runs: every kernel, on small sizes, and whole steps, with and without
// graphs.
const checkedTests = `^TestConformance(MMAOfIntegers|Ldmatrix|CopyAsync|Conversions)$|` +
	`^Test(EmbedAndCopyRows|Unpack|RMSNorm|ReferenceLinear|Argmax)$|` +
	`^Test(Linear|LinearBatch|BatchWaits|LinearQuantized|QuantizedWaits|LinearSpecials)$|` +
	`^TestReferenceAttention$|` +
	`^Test(Launch|OverlappedLaunches|AbandonedSteps|ForgottenGraphs|LittleRoomForDecode)$|` +
	`^TestAhead$/^few$|` +
	`^TestAttention$/./window_(7|129|1),|^TestAttentionJoin$/heads_of_80,|^TestAttentionWaits$`

// TestChecked: no access of any kernel is out of bounds, misaligned, of something unwritten, or in a race.
func TestChecked(t *testing.T) {
	forTheEmulator(t)
	library, err := emulator.Build(emulator.Checked, conformanceKernels)
	require.NoError(t, err)
	output, err := runOn(t, library, checkedTests)
	require.NoError(t, err, "%s", output)
}

// What a checked build says, or how a test fails when the results are wrong.
const (
	race        = "race at "
	inFlight    = "race at .* in flight"
	unwritten   = "of unwritten memory"
	outOfBounds = "out of bounds"
	misaligned  = "misaligned "
	divergent   = "divergent barrier"
	deadlock    = "deadlock: "
	wrongMask   = "wrong mask: "
	// Reading before another thread writes, or after: which of the two happens depends on the order.
	raceOrUnwritten = race + "|" + unwritten
	// An access just outside an array meets the poison that tests put around it, farther out the allocation's
	// end.
	outside     = outOfBounds + "|" + unwritten
	wrongResult = "Error Trace:"
	// A library without a kernel that the test needs, which fails whatever the mistake.
	missingKernel = "named symbol not found"
)

// mutant is a mistake in a kernel.
type mutant struct {
	name         string
	file         string
	old, mistake string
	test         string // that runs the kernel
	want         string // report or failure that it must end in
}

const (
	testLinear9      = "^TestLinear$/bf16_tokens=9_"
	testLinear2      = "^TestLinear$/bf16_tokens=2_"
	testLinear3      = "^TestLinear$/bf16_tokens=3_"
	testLinear130    = "^TestLinear$/bf16_tokens=130_"
	testAttention258 = "^TestAttention$/./heads_of_96,.*window_7,"
	testAttention262 = "^TestAttention$/./heads_of_128,.*window_129,"
	testAttention80  = "^TestAttention$/./heads_of_80,"
	testAttention256 = "^TestAttention$/./heads_of_256,.*window_7,"
	testAttentionTwo = "^TestAttention$/./heads_of_256,.*window_0," // two tiles of rows in decode
)

// headsIn are the widths of heads in a test's name. For a test of a whole model it is nil: it needs all
// kernels.
func headsIn(test string) []int {
	if test == testAhead {
		return nil
	}
	widths := []int{}
	if found := regexp.MustCompile(`heads_of_(\d+)`).FindStringSubmatch(test); found != nil {
		width, _ := strconv.Atoi(found[1])
		widths = append(widths, width)
	}
	return widths
}

var mutants = []mutant{
	{
		"decode: stages read before all lanes' parts have come", "linear_decode.cu",
		"__syncwarp(); // all lanes", "// all lanes", testLinear3, race,
	},
	{
		"decode: waits for too few copies", "linear_decode.cu",
		"cp_async_wait<LINEAR_DECODE_STAGES - 2>()", "cp_async_wait<LINEAR_DECODE_STAGES - 1>()",
		testLinear3, inFlight,
	},
	{
		"decode: waits for too few copies of a long ring", "linear_decode.cu",
		"cp_async_wait<LINEAR_DECODE_WIDE_STAGES - 2>()", "cp_async_wait<LINEAR_DECODE_WIDE_STAGES - 1>()",
		testLinear2, inFlight,
	},
	{
		"decode: ring overrun", "linear_decode.cu",
		"i < args.stages - 1;", "i < args.stages;", testLinear3, race,
	},
	{
		"decode: sums read before the barrier", "linear_decode.cu",
		"__syncthreads();\n\t\tif (warp == 0) {", "if (warp == 0) {", testLinear3, raceOrUnwritten,
	},
	{
		"decode: one buffer of sums for all tiles", "linear_decode.cu",
		"turn ^= 1;", "", testLinear9, race,
	},
	{
		"decode: weight rows that do not exist", "linear_decode.cu",
		"output < args.rows && c < args.k);", "c < args.k);", testLinear3, outside,
	},
	{
		"decode: columns that do not exist", "linear_decode.cu",
		"output < args.rows && c < args.k);", "output < args.rows);", testLinear9, outside,
	},
	{
		"decode: no zeros after the normed tokens", "linear_decode.cu",
		"if (threadIdx.x < UNIT_COLS)\n", "if (threadIdx.x < UNIT_COLS - 1)\n", testLinear9, unwritten,
	},
	{
		"decode: normed tokens read before the barrier", "linear_decode.cu",
		"row[args.k + threadIdx.x] = 0;\n\t}\n\t__syncthreads();", "row[args.k + threadIdx.x] = 0;\n\t}",
		testLinear3, raceOrUnwritten,
	},
	{
		"decode: rows of normed tokens not a multiple of 16 bytes", "linear_decode.cu",
		"args.tokens - 1) * (args.k + UNIT_COLS)", "args.tokens - 1) * (args.k + 4)", testLinear3,
		misaligned + "ldmatrix",
	},
	{
		"decode: weights copied from an odd address", "linear.cuh",
		"(size_t)row * args.k + col, valid", "(size_t)row * args.k + col + 1, valid", testLinear3,
		misaligned + "cp.async",
	},
	{
		"decode: fragments of the wrong half", "linear_decode.cu",
		"x[2 * half][0][1] = r[1];\n\t\t\tx[2 * half + 1][0][0] = r[2];",
		"x[2 * half][0][1] = r[2];\n\t\t\tx[2 * half + 1][0][0] = r[1];", testLinear3, wrongResult,
	},
	{
		"decode: segments added in another order", "linear_decode.cu",
		"add_segments(total, &sm.sums[turn][0][lane], 32, segments);",
		"add_segments(total, &sm.sums[turn][segments - 1][lane], -32, segments);", testLinear3,
		wrongResult,
	},
	{
		"products: rows that do not exist are stored", "linear.cuh",
		"if (row + to_second < args.rows)", "if (row < args.rows)", testLinear3,
		"bytes around an array|" + race + "|" + wrongResult,
	},
	{
		"products: swizzled by the wrong bits", "linear.cuh",
		"offset ^ j << 5", "offset ^ j << 4", testLinear9, wrongResult,
	},
	{
		"prefill: stages read before all threads' parts have come", "linear_prefill.cu",
		"__syncthreads(); // all threads' parts", "// all threads' parts", testLinear9, race,
	},
	{
		"prefill: waits for too few copies", "linear_prefill.cu",
		"cp_async_wait<LINEAR_PREFILL_STAGES - 2>();", "cp_async_wait<LINEAR_PREFILL_STAGES - 1>();",
		testLinear9, inFlight,
	},
	{
		"prefill: one stage more than there is room for", "linear_prefill.cu",
		"i < LINEAR_PREFILL_STAGES; i++)", "i <= LINEAR_PREFILL_STAGES; i++)", testLinear9,
		"cp.async .*out of bounds",
	},
	{
		"prefill: tokens that do not exist", "linear_prefill.cu",
		"i < tokens && col < args.k);", "col < args.k);", testLinear130, outside,
	},
	{
		"prefill: swapped fragments", "linear_prefill.cu",
		"x[n][1] = r[1];\n\t\t\tx[n + 1][0] = r[2];", "x[n][1] = r[2];\n\t\t\tx[n + 1][0] = r[1];",
		testLinear9, wrongResult,
	},
	{
		"prefill: the wrong stride between rows", "linear_prefill.cu",
		"m * 16 * STEP_ROW);", "m * 8 * STEP_ROW);", testLinear130, wrongResult,
	},
	{
		"RMSNorm: no barrier", "rms_norm.cu",
		"__syncthreads();", "", "^TestRMSNorm$", raceOrUnwritten,
	},
	{
		"RMSNorm: half of a warp left out", "rms_norm.cuh",
		"int distance = 16;", "int distance = 8;", "^TestRMSNorm$", wrongResult,
	},
	{
		"RMSNorm: one element too many", "rms_norm.cu",
		"i < (cols + 3) / 4;", "i <= (cols + 3) / 4;", "^TestRMSNorm$", outside,
	},
	{
		"argmax: no barrier", "argmax.cu",
		"__syncthreads();", "", "^TestArgmax$", raceOrUnwritten,
	},
	{
		"argmax: the highest id wins a tie", "argmax.cu",
		"other_id < id", "other_id > id", "^TestArgmax$", wrongResult,
	},
	{
		"argmax: some lanes do not come to the shuffle", "argmax.cu",
		"g.join_warp();\n\tif (lane == 0)\n\t\tsm.warps",
		"if (lane < 16)\n\t\tg.join_warp();\n\tif (lane == 0)\n\t\tsm.warps", "^TestArgmax$", deadlock,
	},
	{
		"argmax: a mask of half the warp", "argmax.cu",
		"__shfl_xor_sync(~0u, value, distance)", "__shfl_xor_sync(0xffffu, value, distance)",
		"^TestArgmax$", wrongMask,
	},
	{
		"attention, decode: no fence before arrival", "attention_decode.cu",
		"__threadfence(); // whoever", "// whoever", testAttention262,
		"race at .* of a global allocation .* no __threadfence",
	},
	{
		"attention, decode: no fence after arrival", "attention_decode.cu",
		"__threadfence(); // and after", "// and after", testAttention262,
		"race at .* of a global allocation .* no __threadfence",
	},
	{
		"attention, decode: arrivals counted without an atomic", "attention_decode.cu",
		"atomicAdd(arrived, 1)", "(*arrived)++", testAttention262, "race at .* of a global allocation",
	},
	{
		"attention, decode: arrivals are not reset", "attention_decode.cu",
		"*arrived = 0;", ";", testAttention258, "still counted as arrived",
	},
	{
		"attention, decode: two barriers for one", "attention_decode.cu",
		"__syncthreads(); // keys and queries are there",
		"if (warp < 2)\n__syncthreads();\nelse\n__syncthreads();", testAttention258, divergent,
	},
	{
		"attention, decode: maxima read before the barrier", "attention_decode.cu",
		"__syncthreads(); // every warp's maxima are there", "// every warp's maxima are there",
		testAttention258, raceOrUnwritten,
	},
	{
		"attention, decode: values used before they are waited for", "attention_decode.cu",
		"cp_async_wait<0>();\n\t\t\t__syncthreads(); // all weights", "__syncthreads(); // all weights",
		testAttention262, inFlight,
	},
	{
		"attention, decode: shared memory reused too early", "attention_decode.cu",
		"__syncthreads(); // all is written to partial", "// all is written to partial", testAttention262,
		race,
	},
	{
		"attention, decode: a query does not see itself", "attention_decode.cu",
		"key <= position", "key < position", testAttention258, wrongResult,
	},
	{
		"attention: window one too wide", "attention.cuh",
		"position - window + 1)", "position - window)", testAttention258, wrongResult,
	},
	{
		"attention: keys that nobody has written", "attention.cuh",
		"from <= row && row < to);", "true);", testAttention258, outside,
	},
	{
		"attention, prefill: keys read before the barrier", "attention_prefill.cu",
		"__syncthreads(); // this part of the keys", "// this part of the keys", testAttention258,
		raceOrUnwritten,
	},
	{
		"attention, prefill: values read before the barrier", "attention_prefill.cu",
		"__syncthreads(); // this part of the values", "// this part of the values", testAttention258,
		raceOrUnwritten,
	},
	{
		"attention, prefill: rows that do not exist are stored", "attention_prefill.cu",
		"if (row >= rows.count)\n\t\t\tcontinue;", "", testAttention262, "bytes around an array|" + race +
			"|" + outOfBounds,
	},
	{
		"attention, prefill: top of another row", "attention_prefill.cu",
		"__shfl_xor_sync(~0u, chunk_top, 2)", "__shfl_xor_sync(~0u, chunk_top, 4)", testAttention258,
		wrongResult,
	},
	{
		"attention: rows of 80 permuted beyond their end", "attention.cuh",
		"D == 80 ? row / 4 % 2", "D == 80 ? row % 8", testAttention80, race + "|" + wrongResult,
	},
	{
		"attention, decode: ten units for three a warp", "attention_decode.cu",
		"DECODE_WARPS == 0 || n < units", "DECODE_WARPS == 0 || n <= units", testAttention80, race + "|" +
			wrongResult,
	},
	{
		"attention, decode: values where keys are still read", "attention_decode.cu",
		"__syncthreads(); // every warp's maxima are there; the keys are no longer read\n" +
			"\t\t\tif (ONE_TILE)\n" +
			"\t\t\t\tload_chunk<D>(args, h, chunk, nullptr, values);",
		"if (ONE_TILE)\n\t\t\t\tload_chunk<D>(args, h, chunk, nullptr, values);\n\t\t\t__syncthreads();",
		testAttention256, race,
	},
	{
		"attention, decode: values in the keys' place are not waited for", "attention_decode.cu",
		"cp_async_wait<0>();\n\t\t\t__syncthreads(); // all weights", "__syncthreads(); // all weights",
		testAttention256, inFlight,
	},
	{
		"attention, decode: keys are not brought again for the next rows", "attention_decode.cu",
		"if (ONE_TILE)\n\t\t\t\tload_chunk<D>(args, h, chunk, keys, nullptr);",
		"if (ONE_TILE && first_row == 0)\n\t\t\t\tload_chunk<D>(args, h, chunk, keys, nullptr);",
		testAttentionTwo, wrongResult,
	},
	{
		"attention, prefill: both halves of the columns are the first", "attention_prefill.cu",
		"args.kv_heads, D) + first_col +", "args.kv_heads, D) +", testAttention256, wrongResult,
	},
	{
		"attention, prefill: the keys' parts share a tile", "attention_prefill.cu",
		"tiles + part % 2 * KV_CHUNK * PART, (const", "tiles + part / 4 * KV_CHUNK * PART, (const",
		testAttention256, race,
	},
	{
		"KV append: the next position's block", "kv_append.cu",
		"position / KV_CHUNK", "(position + 1) / KV_CHUNK", testAttention258, outside + "|" + wrongResult,
	},
}

func allMutants() []mutant {
	return slices.Concat(mutants, decodeMutants, joinMutants, waitMutants, quantizedMutants, aheadMutants,
		batchMutants)
}

// TestMutants plants mistakes in the kernels. The tests must report each as what it is.
func TestMutants(t *testing.T) {
	forTheEmulator(t)
	report := regexp.MustCompile(`block \(.*`)
	room := make(chan struct{}, 2) // at once: each compiles for some seconds
	for _, m := range allMutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			library, err := emulator.BuildMutant(t.TempDir(), emulator.Checked,
				emulator.Mutant{File: m.file, Old: m.old, Mistake: m.mistake, Heads: headsIn(m.test)})
			require.NoError(t, err)
			output, err := runOn(t, library, m.test)
			require.Error(t, err, "not noticed")
			require.NotRegexp(t, missingKernel, output)
			require.Regexp(t, m.want, output)
			t.Log(report.FindString(output))
		})
	}
}
