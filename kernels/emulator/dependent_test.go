//go:build linux && amd64

package emulator

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"phi3/internal/race"
)

// chain is launches of kernels of testdata/dependent.cu, see testdata/run.cc.
func chain(kernels, order string, graph bool) launch {
	return launch{
		kernel: kernels, grid: 2, block: 32, dynamic: 128, outputs: 128, settings: order, graph: graph,
	}
}

// earlyOrders are more orders of blocks that begin early.
var earlyOrders = append([]string{"", "order=forward;early=most", "order=reverse;early=none"}, orders...)

// TestDependentLaunches: chains whose kernels wait are right in every order.
func TestDependentLaunches(t *testing.T) {
	toOut := func(in, scratch, out []uint32) {
		for i := range scratch {
			out[i] = scratch[63-i]*3 + in[i]
		}
	}
	toScratch := func(in, scratch, out []uint32) {
		for i := range scratch {
			scratch[i] = out[63-i]*5 + in[0]
		}
	}
	in, scratch, out := count(64), make([]uint32, 64), make([]uint32, 64)
	for i := range scratch {
		scratch[i] = in[i] + 1
	}
	toOut(in, scratch, out)
	for range 2 {
		toScratch(in, scratch, out)
		toOut(in, scratch, out)
	}
	for _, kind := range []Kind{Fast, Checked} {
		l := newLab(t, kind)
		for _, order := range earlyOrders {
			for _, graph := range []bool{false, true} {
				how := chain("begin,to_out+,to_scratch+,to_out+,to_scratch+,to_out+", order, graph)
				how.outputs, how.times = 64, 2
				got, err := l.run(t, how, in)
				if err != nil || !slices.Equal(got, out) {
					t.Errorf("kind %d, %s, graph %t: got %v, %v, want %v", kind, order, graph, got, err, out)
				}
			}
		}
	}
}

// TestFaultsOfDependentLaunches: a use of global memory that comes too early is reported with both lines, in
// every order, whether it is early in the order that ran or not.
func TestFaultsOfDependentLaunches(t *testing.T) {
	race.SkipAlone(t)
	source, err := os.ReadFile("testdata/dependent.cu")
	if err != nil {
		t.Fatal(err)
	}
	line := func(kernel, mark string) string {
		above, code, _ := strings.Cut(string(source), "TEST_KERNEL("+kernel+")")
		before, _, found := strings.Cut(code, mark)
		if !found {
			t.Fatalf("%s has no %q", kernel, mark)
		}
		return fmt.Sprintf("dependent.cu:%d", 1+strings.Count(above+before, "\n"))
	}
	const who = ` block \(\d,0,0\) thread \(\d+,0,0\)`
	written, read := line("begin", "args.scratch"), line("reads_before", "// FAULT")
	raced := "begin:" + who + ": race at byte .*: read by reads_before" + who + " at " + read +
		"; written by" + who + " at " + written +
		"; reads_before has not waited for the end of the other launch|" +
		"reads_before:" + who + ": race at byte .*: written by begin" + who + " at " + written +
		"; read by" + who + " at " + read + "; reads_before has not waited for the end of the other launch"
	const missing = "some_never_wait:" + who + ": ends without wait_for_predecessor"
	late := newLab(t, Checked)
	early := newLab(t, Checked, "wait_for_predecessor(); // ORDER\n\tlaunch_dependents();",
		"launch_dependents();\n\twait_for_predecessor();")
	tests := []struct {
		lab     *lab
		name    string
		kernels string
		want    string // nothing: it is right
	}{
		{late, "read", "begin,reads_before+", raced},
		{late, "read in a chain", "adds_one,begin+,reads_before+", raced},
		{late, "write", "adds_one,writes_before+", "write of global memory before wait_for_predecessor, at " +
			line("writes_before", "// FAULT")},
		{
			late, "atomic", "adds_one,counts_before+",
			"atomic of global memory before wait_for_predecessor, at " + line("counts_before", "// FAULT"),
		},
		{late, "missing wait", "adds_one,some_never_wait+", missing},
		{late, "without the attribute", "begin,reads_before", ""},
		{late, "first", "reads_before+,begin", ""},
		{late, "after a memset", "begin,memset,reads_before+", ""},
		{late, "late launch_dependents", "begin,adds_one+,reads_before+", ""},
		{late, "late launch_dependents in a chain", "begin,adds_one+,adds_one+,reads_before+", ""},
		{early, "early launch_dependents", "begin,adds_one+,reads_before+", raced},
		{early, "early launch_dependents in a chain", "begin,adds_one+,adds_one+,reads_before+", raced},
		{early, "early launch_dependents without overlap", "begin,adds_one,reads_before+", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := regexp.MustCompile(test.want)
			for _, order := range earlyOrders[:7] {
				for _, graph := range []bool{false, true} {
					report := ""
					_, err := test.lab.run(t, chain(test.kernels, order, graph), count(64))
					if err != nil {
						report = err.Error()
					}
					if (test.want == "") != (report == "") || !want.MatchString(report) {
						t.Errorf("%s, graph %t: want %q, got %q", order, graph, test.want, report)
					}
				}
			}
		})
	}
}

// TestEarlyBlocksReadOldMemory: in a fast build, which reports no races, a read that comes too early has
// another result if the block begins early.
func TestEarlyBlocksReadOldMemory(t *testing.T) {
	in := count(64)
	right, old := make([]uint32, 64), make([]uint32, 64) // as begin writes it, and as the host did
	for i := range right {
		right[i] = in[63-i] + 1
	}
	late := newLab(t, Fast)
	early := newLab(t, Fast, "wait_for_predecessor(); // ORDER\n\tlaunch_dependents();",
		"launch_dependents();\n\twait_for_predecessor();")
	for _, graph := range []bool{false, true} {
		for _, test := range []struct {
			lab            *lab
			kernels, order string
			dynamic        int
			want           []uint32
		}{
			{late, "begin,reads_before+", "order=forward", 0, right},
			{late, "begin,reads_before+", "order=reverse", 0, old},
			{late, "begin,reads_before+", "", 0, old},
			{late, "begin,reads_before", "order=reverse", 0, right},
			{late, "begin,adds_one+,reads_before+", "order=reverse", 0, right},
			{early, "begin,adds_one+,reads_before+", "order=reverse", 0, old},
			// One block of adds_one fits, so the launch after it cannot begin.
			{early, "begin,adds_one+,reads_before+", "order=reverse;sms=1", 200 << 10, right},
		} {
			how := chain(test.kernels, test.order, graph)
			how.dynamic = test.dynamic
			got, err := test.lab.run(t, how, in)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got[64:], test.want) {
				t.Errorf("%s, %s, graph %t: got %v, want %v", test.kernels, test.order, graph, got[64:],
					test.want)
			}
		}
	}
}
