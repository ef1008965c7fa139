//go:build linux && amd64

package emulator

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"phi3/internal/race"
)

// faults are the kernels of testdata/faults.cu and how they are reported.
var faults = []struct {
	kernel, want string
	bothKinds    bool // a fast build reports it too
}{
	{
		"global_read_out_of_bounds", "read out of bounds: bytes 256 to 259 of an allocation of 256 bytes",
		false,
	},
	{"global_write_out_of_bounds", "write out of bounds", false},
	{
		"shared_out_of_bounds", "write out of bounds: bytes 1280 to 1283 of shared memory of 1280 bytes",
		false,
	},
	{"dynamic_shared_out_of_bounds", "write out of bounds: bytes .* of shared memory", false},
	{"misaligned_load", "misaligned read of 16 bytes", false},
	{"misaligned_copy", "misaligned cp.async", true},
	{"misaligned_ldmatrix", "misaligned ldmatrix", true},
	{"unwritten_shared", "read of unwritten memory: byte 1276 of shared memory", false},
	{"unwritten_global", "read of unwritten memory: byte .* of a global allocation of 256", false},
	{"unwritten_ldmatrix", "read of unwritten memory: byte 496 of shared memory", false},
	{"race_in_a_warp", "race at byte .* of shared memory: .* no barrier between", false},
	{"race_between_warps", "race at byte .* of shared memory: .* no barrier between", false},
	{"race_write_after_read", "race at .*: (read by .*; written by|written by .*; read by) .* no " +
		"barrier between", false},
	{"race_same_value", "race at byte 1024 of shared memory: written by .*; written by", false},
	{"race_global_in_a_block", "race at byte .* of a global allocation", false},
	{"race_between_blocks", "race at byte 0 of a global .* no __threadfence, atomic and __threadfence " +
		"between", false},
	{"race_with_an_atomic", "race at byte 0 of a global .*: (atomically changed by .*; read by|read by " +
		".*; atomically changed by)", false},
	{"copy_not_waited_for", "race at .*: cp.async by .* is in flight; read by", false},
	{"copy_without_barrier", "race at .*: (written by .*; read by|cp.async by .* is in flight; read " +
		"by|read by .*; cp.async)", false},
	{"copy_over_a_read", "race at .*: (read by .*; cp.async by .* no barrier between|cp.async by .* is " +
		"in flight; read by)", false},
	{"divergent_barrier", "divergent barrier: ", true},
	{"deadlock", "deadlock: of 64 threads 63 wait in __syncthreads at .* 1 wait in __syncwarp at", true},
	{"divergent_warp", "divergent warp: lane .* in __shfl_sync", true},
	{"mask_without_own_lane", "wrong mask: .* lacks the thread's own lane", true},
	{"shuffle_from_outside_the_mask", "wrong mask: .* reads lane 16, which takes no part", true},
	{"mma_without_all_lanes", "wrong mask: mma .* needs the whole warp", true},
	{"too_much_static_shared", "too much shared memory", true},
	{"prefetch_beyond_the_end", "prefetch out of bounds .* 272 bytes", true},
}

// TestFaults: every fault is reported as what it is, at the line that faults.cu marks.
func TestFaults(t *testing.T) {
	source, err := os.ReadFile("testdata/faults.cu")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []Kind{Fast, Checked} {
		l := newLab(t, kind)
		for _, test := range faults {
			if kind == Fast && !test.bothKinds {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", test.kernel, kind), func(t *testing.T) {
				above, kernel, _ := strings.Cut(string(source), "TEST_KERNEL("+test.kernel+")")
				before, _, found := strings.Cut(kernel, "// FAULT")
				if !found {
					t.Fatal("no line marked FAULT")
				}
				line := fmt.Sprintf("faults.cu:%d", 1+strings.Count(above+before, "\n"))
				for _, order := range orders[:4] {
					how := launch{
						kernel: test.kernel, grid: 2, block: 64, dynamic: 64 * 16, outputs: 64,
						settings: order,
					}
					if strings.Contains(test.kernel, "ldmatrix") {
						how.grid, how.block, how.dynamic = 1, 32, 32*16
					} else if test.kernel != "race_between_blocks" &&
						test.kernel != "global_write_out_of_bounds" {
						how.grid = 1
					}
					if test.kernel == "dynamic_shared_out_of_bounds" {
						how.dynamic = 500
					}
					_, err := l.run(t, how, count(64))
					if err == nil {
						t.Fatalf("%s: not noticed", order)
					}
					report := err.Error()
					if !regexp.MustCompile(test.want).MatchString(report) {
						t.Errorf("%s: want %q in %s", order, test.want, report)
					}
					head := test.kernel + `: block \(\d+,0,0\) thread \(\d+,0,0\): `
					if !regexp.MustCompile(head).MatchString(report) || !strings.Contains(report, line) {
						t.Errorf("%s: want kernel, block, thread and %s in %s", order, line, report)
					}
					if order == orders[0] {
						t.Log(report)
					}
				}
			})
		}
	}
}

// TestMergeWithoutItsParts: blocks that merge their work need every part of the synchronization.
func TestMergeWithoutItsParts(t *testing.T) {
	race.SkipAlone(t)
	tests := []struct{ old, new, want string }{
		{
			"__threadfence(); // MERGE release", "",
			"race at .* of a global .* no __threadfence, atomic and __threadfence between",
		},
		{
			"__threadfence(); // MERGE acquire", "",
			"race at .* of a global .* no __threadfence, atomic and __threadfence between",
		},
		{"__syncthreads(); // MERGE barrier", "", "race at"},
		{"__syncthreads(); // MERGE told", "", "race at|unwritten"},
		{
			"atomicAdd(args.scratch, 1u) == gridDim.x - 1; // MERGE arrive",
			"args.scratch[0]++ == gridDim.x - 1;", "race at byte 0 of a global",
		},
		{
			"atomicAdd(args.scratch, 1u) == gridDim.x - 1; // MERGE arrive", "blockIdx.x == gridDim.x - 1;",
			"race at|unwritten",
		},
	}
	for _, test := range tests {
		l := newLab(t, Checked, test.old, test.new)
		for _, order := range orders[:4] {
			_, err := l.run(t, launch{
				kernel: "last_block_merges", grid: 9, block: 64, outputs: 19,
				settings: order,
			}, count(9*64))
			if err == nil || !regexp.MustCompile(test.want).MatchString(err.Error()) {
				t.Errorf("%q for %q, %s: want %q, got %v", test.new, test.old, order, test.want, err)
			}
		}
	}
}
