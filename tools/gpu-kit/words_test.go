//go:build cuda && linux

package kit

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// summaries are outputs of steps and the words that words.awk makes of them.
var summaries = []struct{ name, what, want, output string }{
	{"a command's error", "failed", "phi3: load model x: it is damaged", `
model: x
phi3: load model x: it is damaged
`},
	{"a compiler's log", "failed", "phi3: no code (CUDA_ERROR_INVALID_PTX) line 4: fatal", `
phi3: no code (CUDA_ERROR_INVALID_PTX)
line 4: fatal

`},
	{"a row of verify", "failed", "FAIL b 1 2; phi3: 1 of 3 checks failed", `
ok  a
FAIL  b   1  2
ok  c
phi3: 1 of 3 checks failed
`},
	{"a test", "failed", "TestA: Not equal: expected: 1", `
=== RUN   TestA
    a_test.go:1:
        	Error Trace:	a_test.go:1
        	Error:      	Not equal:
        	            	expected: 1
        	Test:       	TestA
--- FAIL: TestA (0.0s)
FAIL
`},
	{"the innermost tests", "failed", "TestA/x, TestB/1, TestB/2 and 1 more: b_test.go:7: lost", `
--- FAIL: TestA (0s)
    --- FAIL: TestA/x (0s)
--- FAIL: TestB (0s)
    --- FAIL: TestB/1 (0s)
    --- FAIL: TestB/2 (0s)
    --- FAIL: TestB/3 (0s)
    b_test.go:7: lost
FAIL
`},
	{"a command in a test", "failed", "TestScript/run: phi3: no driver", `
=== RUN   TestScript/run
        > ! exec phi3 x
        [stderr]
        phi3: expected
        [exit status 1]
        > exec phi3 y
        [stderr]
        phi3: no driver
        [exit status 1]
        FAIL: testdata/run.txtar:2: unexpected command failure
    --- FAIL: TestScript/run (0s)
`},
	{"a panic", "failed", "in TestA: panic: runtime error: index out of range", `
=== RUN   TestA
panic: runtime error: index out of range

goroutine 1 [running]:
main.go:3
`},
	{"a crash of the driver", "failed", "SIGSEGV: segmentation violation", `
SIGSEGV: segmentation violation
PC=0x0
rax 0x0
`},
	{"a test without an end", "failed", "TestA: no end within 90 s", `
=== RUN   TestA
--- FAIL: TestA: no end within 90 s
=== RUN   TestB
--- PASS: TestB (0s)
PASS
`},
	{"a sanitizer", "failed", "========= RACECHECK SUMMARY: 1 hazard", `
========= Race reported
========= RACECHECK SUMMARY: 1 hazard
`},
	{"another last line", "failed", "RuntimeError: CUDA out of memory", `
round 1
RuntimeError: CUDA out of memory
`},
	{"no output", "failed", "no output, exit status 3", ``},
	{"tests that passed", "passed", "5 passed, 1 skipped", `
--- PASS: TestA (0s)
PASS
5 passed, 1 skipped
`},
	{"nothing to add", "passed", "", `line`},
	{"where it was", "where", ", in TestA/x", `
=== RUN   TestA
=== RUN   TestA/x
`},
	{"how far it came", "where", "; last line: shard 2", `
shard 1
shard 2
`},
	{"a long line", "failed", strings.Repeat("é", 199) + " …", strings.Repeat("é", 300)},
}

// A step's output is summarized in one line.
func TestWords(t *testing.T) {
	for _, c := range summaries {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("awk", "-f", "words.awk", "-v", "what="+c.what, "-v", "status=3")
			cmd.Env = append(os.Environ(), "LC_ALL=C")
			cmd.Stdin = strings.NewReader(c.output)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Equal(t, c.want+"\n", string(out))
		})
	}
}
