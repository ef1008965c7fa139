//go:build linux && amd64

package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"phi3/internal/tensorcore"
)

// A lab runs the kernels of testdata/ on a library that was built from them.
type lab struct {
	runner, library string
}

// What testdata/run.cc is to launch.
type launch struct {
	kernel                        string
	grid, block, dynamic, outputs int
	times                         int
	settings                      string
}

func unavailable(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// edits are old and new texts for basics.cu, in pairs.
func newLab(t *testing.T, kind Kind, edits ...string) *lab {
	t.Helper()
	b, err := newBuilder(nil)
	unavailable(t, err)
	for name := range b.sources {
		if filepath.Ext(name) == ".cu" {
			delete(b.sources, name)
		}
	}
	for name, to := range map[string]string{
		"phi3.cu": "phi3.cu", "basics.cu": "basics.cu", "faults.cu": "faults.cu", "args.h": "emulator/testdata/args.h",
	} {
		content, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(edits) && name == "basics.cu"; i += 2 {
			if bytes.Count(content, []byte(edits[i])) != 1 {
				t.Fatalf("%s does not have %q exactly once", name, edits[i])
			}
			content = bytes.Replace(content, []byte(edits[i]), []byte(edits[i+1]), 1)
		}
		b.sources[to] = content
	}
	if len(edits) > 0 {
		b.mutated, b.out = "basics.cu", t.TempDir()
	}
	library, err := b.build(kind)
	unavailable(t, err)
	return &lab{compile(t, "testdata/run.cc"), library}
}

func compile(t *testing.T, source string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("g++", "-o", program, source, "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// The output, or the driver's error.
func (l *lab) run(t *testing.T, how launch, in []uint32) ([]uint32, error) {
	t.Helper()
	cmd := exec.Command(l.runner, l.library, how.kernel, fmt.Sprint(how.grid), fmt.Sprint(how.block),
		fmt.Sprint(how.dynamic),
		fmt.Sprint(how.outputs), fmt.Sprint(max(how.times, 1)))
	cmd.Env = append(os.Environ(), "PHI3_EMULATOR="+how.settings)
	var stdin, stdout, stderr bytes.Buffer
	if err := binary.Write(&stdin, binary.LittleEndian, in); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s (%w)", strings.TrimSpace(stderr.String()), err)
	}
	out := make([]uint32, how.outputs)
	if err := binary.Read(&stdout, binary.LittleEndian, out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

var orders = []string{
	"order=forward", "order=reverse", "order=favour:1", "order=random:1", "order=random:2", "order=forward;copies=late",
	"order=reverse;copies=early",
}

func count(n int) []uint32 {
	in := make([]uint32, n)
	for i := range in {
		in[i] = uint32(i)
	}
	return in
}

// Each kernel's output must be right in every order, and nothing may be reported.
func TestBasics(t *testing.T) {
	random := func(n int) []uint32 {
		r := rand.New(rand.NewPCG(1, 2))
		in := make([]uint32, n)
		for i := range in {
			in[i] = r.Uint32()
		}
		return in
	}
	r := rand.New(rand.NewPCG(3, 4))
	mma := []tensorcore.Inputs{tensorcore.Kinds[0].Draw(r, 16, 8, 16), tensorcore.Kinds[1].Draw(r, 16, 8, 16)}
	floats := []float32{
		0, 1, -1, 1.00390625, 1.01171875, 3.4e38, -127, 127.5, 1e-40, float32(math.Inf(1)),
		float32(math.NaN()), 0.3,
	}
	inFloats := make([]uint32, len(floats))
	for i, f := range floats {
		inFloats[i] = math.Float32bits(f)
	}
	tests := []struct {
		launch
		in   []uint32
		want func(in []uint32) []uint32
	}{
		{launch{kernel: "shuffles", grid: 1, block: 32, outputs: 296}, shifted(32, 100), wantShuffles},
		{launch{kernel: "mma", grid: 2, block: 32, outputs: 256}, tiles(mma), func([]uint32) []uint32 {
			return sums(mma, tensorcore.Hopper)
		}},
		{
			launch{kernel: "load_matrices", grid: 1, block: 32, dynamic: 512, outputs: 384},
			random(128),
			wantMatrices,
		},
		{
			launch{kernel: "ring", grid: 1, block: 48, dynamic: 3 * 48 * 16, outputs: 48 * 4},
			random(7 * 48 * 4), wantRing,
		},
		{
			launch{kernel: "last_block_merges", grid: 9, block: 64, outputs: 19, times: 2},
			random(9 * 64),
			wantMerge,
		},
		{launch{kernel: "atomics", grid: 3, block: 40, outputs: 6}, count(1), func([]uint32) []uint32 {
			return []uint32{119 * 120 / 2, 119, ^uint32(118), 20, 0, 5}
		}},
		{launch{kernel: "conversions", grid: 1, block: len(floats), outputs: 4 * len(floats)}, inFloats, nil},
	}
	for _, kind := range []Kind{Fast, Checked} {
		l := newLab(t, kind)
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s/%d", test.kernel, kind), func(t *testing.T) {
				for _, order := range orders {
					test.settings = order
					got, err := l.run(t, test.launch, test.in)
					if err != nil {
						t.Fatalf("%s: %v", order, err)
					}
					if test.want == nil {
						checkConversions(t, floats, got)
						continue
					}
					want := test.want(test.in)
					for i := range want {
						// The order of a compare-and-swap chain shows, and is any.
						if got[i] != want[i] && (test.kernel != "atomics" || i != 4) {
							t.Fatalf("%s: word %d is %#x, want %#x", order, i, got[i], want[i])
						}
					}
				}
			})
		}
	}
}

func shifted(n, by int) []uint32 {
	in := count(n)
	for i := range in {
		in[i] += uint32(by)
	}
	return in
}

func wantShuffles(in []uint32) []uint32 {
	want := make([]uint32, 296)
	for lane := range 32 {
		v := func(source int) uint32 { return in[source] }
		group := lane / 16 * 16
		down, up := lane+3, lane-3
		if down >= group+16 {
			down = lane
		}
		if up < group {
			up = lane
		}
		want[lane] = v(5)
		want[32+lane] = v(lane/8*8 + 5)
		want[64+lane] = v(lane ^ 3)
		want[96+lane] = v(down)
		want[128+lane] = v(up)
		want[160+lane] = v(lane ^ 1)
		for l, x := range in {
			if x%3 == 0 {
				want[192+lane] |= 1 << l
			}
		}
		want[224+lane] = 2
		if lane < 16 {
			want[224+lane]++
		}
		want[256+lane] = v(31)
		if lane < 8 {
			want[288+lane] = v(lane ^ 7)
		}
	}
	return want
}

func wantMatrices(in []uint32) []uint32 {
	element := func(matrix, row, col int) uint32 {
		i := matrix*64 + row*8 + col
		return in[i/2] >> (i % 2 * 16) & 0xffff
	}
	var want []uint32
	for lane := range 32 {
		g, t := lane/4, lane%4*2
		for _, matrices := range []int{4, 2} {
			for m := range matrices {
				want = append(want, element(m, g, t)|element(m, g, t+1)<<16)
			}
			for m := range matrices {
				want = append(want, element(m, t, g)|element(m, t+1, g)<<16)
			}
		}
	}
	return want
}

func wantRing(in []uint32) []uint32 {
	want := make([]uint32, 192)
	for i, v := range in {
		if i/192 != 1 {
			want[i%192] += v
		}
	}
	return want
}

func wantMerge(in []uint32) []uint32 {
	want := make([]uint32, 19)
	for i, v := range in {
		want[0] += v
		want[1+i/32] += v
	}
	return want
}

// bfloat16 rounding is checked through big steps of the mantissa: nearest, ties to even.
func checkConversions(t *testing.T, floats []float32, got []uint32) {
	t.Helper()
	for i, x := range floats {
		b := math.Float32bits(x)
		want := b >> 16
		if rest := b & 0xffff; rest > 0x8000 || rest == 0x8000 && want&1 == 1 {
			want++
		}
		if x != x {
			want = 0x7fff
		}
		if got[4*i] != want || got[4*i+1] != want|0x3f80<<16 {
			t.Errorf("%g as bfloat16 is %#x, in a pair %#x, want %#x", x, got[4*i], got[4*i+1], want)
		}
		exp := float32(math.Exp2(float64(x)))
		if exp < 0x1p-126 {
			exp = 0
		}
		if e := math.Float32frombits(got[4*i+2]); math.Abs(float64(e-exp)) > 1e-6*float64(exp) &&
			!math.IsInf(float64(exp), 1) {
			t.Errorf("exp2(%g) is %g, want %g", x, e, exp)
		}
		half := math.Ldexp(1+1.0/1024, i-15) // bits i<<10 | 1
		if i == 0 {
			half = 0x1p-24
		}
		if h := math.Float32frombits(got[4*i+3]); float64(h) != half {
			t.Errorf("half %#x is %g, want %g", i<<10|1, h, half)
		}
	}
}

// Every kernel of faults.cu is reported as what it does wrong, at the line marked there.
func TestFaults(t *testing.T) {
	source, err := os.ReadFile("testdata/faults.cu")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		kernel, want string
		bothKinds    bool // a fast build notices too
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
	}
	for _, kind := range []Kind{Fast, Checked} {
		l := newLab(t, kind)
		for _, test := range tests {
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

// Blocks that hand their work over need all parts of the handshake.
func TestMergeWithoutItsParts(t *testing.T) {
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

func TestDriver(t *testing.T) {
	l := newLab(t, Fast)
	cmd := exec.Command(compile(t, "testdata/driver.cc"), l.library)
	cmd.Env = append(os.Environ(), "PHI3_EMULATOR=devices=2;memory=1048576;fail-alloc=5")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// A test adds a header, and kernels that include it and kernels/gpu.h. No added file may replace one of
// phi3's.
func TestExtraKernels(t *testing.T) {
	header, err := os.ReadFile("testdata/args.h")
	if err != nil {
		t.Fatal(err)
	}
	extra := []Extra{
		{Name: "more/args.h", Text: header},
		{Name: "more/twice.cu", Kernels: []string{"twice", "thrice"}, Text: []byte(`
			#include "gpu.h"
			#include "more/args.h"
			static unsigned times(unsigned n, unsigned v) { return n * v; }
			extern "C" __global__ void twice(KERNEL_ARGS(TestArgs) args) { args.out[0] = times(2, args.in[0]); }
			extern "C" __global__ void thrice(KERNEL_ARGS(TestArgs) args) { args.out[0] = times(3, args.in[0]); }`)},
		{Name: "more/half.cu", Kernels: []string{"half"}, Text: []byte(`
			#include "gpu.h"
			#include "args.h"
			static unsigned times(unsigned n, unsigned v) { return v / n; }
			extern "C" __global__ void half(KERNEL_ARGS(TestArgs) args) { args.out[0] = times(2, args.in[0]); }`)},
	}
	library, err := Build(Fast, extra...)
	unavailable(t, err)
	l := &lab{compile(t, "testdata/run.cc"), library}
	for kernel, want := range map[string]uint32{"twice": 42, "thrice": 63, "half": 10} {
		got, err := l.run(t, launch{kernel: kernel, grid: 1, block: 1, outputs: 1}, []uint32{21})
		if err != nil || got[0] != want {
			t.Errorf("%s: got %v, %v, want %d", kernel, got, err, want)
		}
	}
	missing := launch{kernel: "fourfold", grid: 1, block: 1, outputs: 1}
	if _, err := l.run(t, missing, []uint32{21}); err == nil {
		t.Error("found a kernel that is in no file")
	}
	for _, name := range []string{"gpu.h", "../gpu.h"} {
		if _, err := Build(Fast, Extra{Name: name}); err == nil {
			t.Errorf("%s was accepted as a new file", name)
		}
	}
}
