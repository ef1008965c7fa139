//go:build linux && amd64

package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lab runs the kernels of testdata/ on a library that was built from them.
type lab struct {
	runner, library string
}

// launch is what testdata/run.cc launches. kernel can be several, see there.
type launch struct {
	kernel                        string
	grid, block, dynamic, outputs int
	times                         int
	graph                         bool // launched as a graph, not on the stream
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

// newLab builds a library. edits are pairs of old and new texts for basics.cu or dependent.cu.
func newLab(t *testing.T, kind Kind, edits ...string) *lab {
	t.Helper()
	b, err := newBuilder(nil)
	unavailable(t, err)
	for name := range b.sources {
		if filepath.Ext(name) == ".cu" {
			delete(b.sources, name)
		}
	}
	made := 0
	for name, to := range map[string]string{
		"phi3.cu": "phi3.cu", "basics.cu": "basics.cu", "faults.cu": "faults.cu",
		"dependent.cu": "dependent.cu",
		"args.h":       "emulator/testdata/args.h",
	} {
		content, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(edits); i += 2 {
			if bytes.Count(content, []byte(edits[i])) == 1 {
				content = bytes.Replace(content, []byte(edits[i]), []byte(edits[i+1]), 1)
				b.mutated, b.out = name, t.TempDir()
				made++
			}
		}
		b.sources[to] = content
	}
	if made != len(edits)/2 {
		t.Fatalf("the texts %q are not there exactly once", edits)
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

// run returns the output, or the driver's error.
func (l *lab) run(t *testing.T, how launch, in []uint32) ([]uint32, error) {
	t.Helper()
	mode := "stream"
	if how.graph {
		mode = "graph"
	}
	cmd := exec.Command(l.runner, l.library, how.kernel, fmt.Sprint(how.grid), fmt.Sprint(how.block),
		fmt.Sprint(how.dynamic),
		fmt.Sprint(how.outputs), fmt.Sprint(max(how.times, 1)), mode)
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
	"order=forward", "order=reverse", "order=favour:1", "order=random:1", "order=random:2",
	"order=forward;copies=late", "order=reverse;copies=early",
}

func count(n int) []uint32 {
	in := make([]uint32, n)
	for i := range in {
		in[i] = uint32(i)
	}
	return in
}

func TestDriver(t *testing.T) {
	l, log := newLab(t, Fast), filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(compile(t, "testdata/driver.cc"), l.library, log)
	cmd.Env = append(os.Environ(), "PHI3_EMULATOR=devices=2;memory=1048576;fail-alloc=5")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"record", "wait-event",
		"sync-stream", "memset 8", "on-device 4", "on-device 4", "to-host 8",
		"query-stream", "memset 8",
		"sync-context",
		"sync-copy", "to-host 1", // while a graph is made
		"graph 1",
		"sync-stream", "memset 8",
		"sync-copy", "to-host 1",
		"sync-stream", // of a stream that is being captured: refused
	}
	if string(got) != strings.Join(want, "\n")+"\n" {
		t.Errorf("the log is\n%s", got)
	}
}

// TestLogOfKernels: the log says which kernels ran, and how much each of them prefetched.
func TestLogOfKernels(t *testing.T) {
	l, log := newLab(t, Fast), filepath.Join(t.TempDir(), "log")
	_, err := l.run(t, launch{
		kernel: "prefetches", grid: 2, block: 3, outputs: 1, times: 2, settings: "log=" + log,
	}, count(64))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(log)
	once := "launch prefetches\nprefetch prefetches 192\n"
	want := strings.Repeat("sync-copy\nto-device 256\n", 2) + "sync-stream\n" + once + once +
		"sync-copy\nto-host 4\n"
	if err != nil || string(got) != want {
		t.Errorf("the log is\n%s%v", got, err)
	}
}

// TestExtraKernels adds a header, and kernels that include it and kernels/gpu.h. An added file must not
// replace one of phi3's.
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
			extern "C" __global__ void twice(KERNEL_ARGS(TestArgs) a) { a.out[0] = times(2, a.in[0]); }
			extern "C" __global__ void thrice(KERNEL_ARGS(TestArgs) a) { a.out[0] = times(3, a.in[0]); }`)},
		{Name: "more/half.cu", Kernels: []string{"half"}, Text: []byte(`
			#include "gpu.h"
			#include "args.h"
			static unsigned times(unsigned n, unsigned v) { return v / n; }
			extern "C" __global__ void half(KERNEL_ARGS(TestArgs) a) { a.out[0] = times(2, a.in[0]); }`)},
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
