//go:build cuda && linux

package kit

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	osSignal "os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWholeRun runs every step, as on an A100, with replacements for compute-sanitizer and python3.
func TestWholeRun(t *testing.T) {
	k := newKit(t)
	k.env = append(k.env, "PHI3_EMULATOR=compute=8.0")
	k.tool("compute-sanitizer", `echo "sanitizer $*"
while [[ $1 == --* ]]; do shift 2; done
exec "$1" -test.v -test.run '^TestArgmax$'`)
	k.tool("python3", `[ "$1" = -c ] && exit
shift
columns=model,device,load_ms,n_prompt,n_gen,first_token_ms,prefill_tokens_per_s,prefill_tokens_per_s_sd
echo $columns,decode_tokens_per_s,decode_tokens_per_s_sd,decode_gb_per_s
echo round >>"$TMPDIR/rounds"
case $(wc -l <"$TMPDIR/rounds") in 1) speed=30 ;; 2) speed=99 ;; *) speed=40 ;; esac
for size in "${@:2}"; do
	echo "transformers,\"GPU, of a kind\",1234,${size%:*},${size#*:},5,1000,2,$speed,0.5,"
done`)
	status, _ := k.run("10", k.out, "--short")
	k.require(with([2]string{"passed", ""}, map[string][2]string{
		"conformance": {"passed", `6 passed, 1 skipped \(the first: .*wgmma.*\)`},
		"kernels":     {"passed", "11 passed"},
		"models":      {"passed", "1 passed"},
		"backend":     {"passed", `[1-9]\d* passed, [1-9]\d* skipped \(the first: .+\)`},
		"commands":    {"passed", "2 passed"},
		"memcheck":    {"passed", "1 passed"},
		"racecheck":   {"passed", "1 passed"},
		"experiments": {
			"passed", `[1-9]\d* passed, [1-9]\d* skipped \(the first: .+ does not overlap launches\)`,
		},
	}))
	require.Zero(t, status)

	s := k.summary()
	require.Equal(t, "emulator 0", s.head["card"])
	require.Equal(t, "8.0", s.head["compute capability"])
	require.Equal(t, version(t), s.head["program"])
	require.Contains(t, s.head["code in the program"], "PTX")
	require.Contains(t, s.head, "driver")
	require.Regexp(t, `^(native code for sm_80|PTX, compiled by the driver)$`, s.head["code used"])
	require.Regexp(t, `^phi3 .*; compute capability 8\.0; .*logits \w+$`,
		s.head["phi3 verify, for a bug report"])
	require.Equal(t, "run.sh 10 "+k.out+" --short", s.head["command"])
	require.Equal(t, "complete", s.head["this run"])
	require.Contains(t, s.text, "\n20 passed\n")
	k.requireFigures(s)

	all, err := os.ReadFile(k.out + "/all.txt")
	require.NoError(t, err)
	sanitizer := "sanitizer --target-processes application-only --error-exitcode 1 --tool "
	tests := "/cuda.test -test.v -test.short -test.run ^Test"
	for _, part := range []string{
		s.text, "\n==== figures.csv\n", "\n==== steps/doctor.txt\n", "\n==== steps/transformers.txt\n",
		sanitizer + "memcheck --report-api-errors no " + k.dir + tests, sanitizer + "racecheck " + k.dir +
			tests,
	} {
		require.Contains(t, string(all), part)
	}
	work := regexp.MustCompile(`\S+/phi3-gpu-kit\.\d+\.\w+`).FindString(string(all))
	require.NotEmpty(t, work)
	require.NoDirExists(t, work, "temporary files")
}

// requireFigures checks the second table: it has all figures, each is a number, and the shares are of the
// step's own ceilings. The model on paper does not know the emulator.
func (k *kit) requireFigures(s summary) {
	t := k.t
	const copying = "copy (bytes read and written)"
	copies, reads := map[string]float64{}, map[string]float64{}
	seen := map[string]bool{}
	number := func(f []string, column int) float64 {
		value, err := strconv.ParseFloat(strings.Fields(f[column])[0], 64)
		require.NoError(t, err, "%q", f)
		if f[3] != "µs/host" { // a difference
			require.Positive(t, value, "%q", f)
		}
		return value
	}
	for _, f := range s.figures {
		value := number(f, 2)
		if f[0] == "experiments" {
			require.NotContains(t, f[2], "median", "%q: two figures of one name", f)
		}
		seen[strings.Join([]string{f[0], f[1], f[3]}, "|")] = true
		if f[3] != "GB/s" {
			continue
		}
		switch f[1] { // the ceilings come first
		case copying:
			copies[f[0]] = value
		case "read-only ceiling":
			reads[f[0]] = value
		}
		if f[1] != copying {
			require.InEpsilon(t, 100*value/reads[f[0]], number(f, 7), 0.01, "%q", f)
		}
		require.InEpsilon(t, 100*value/copies[f[0]], number(f, 6), 0.01, "%q", f)
	}
	require.Contains(t, s.text,
		`There are no predictions: gpu-model: the model does not know the card "emulator`)
	require.Equal(t, []string{ // an A100 does not overlap launches
		"B1, 4 MB", "B1, 8 MB", "B1, 12 MB", "B2", "B2", "B2", "B2, if the join took no time", "B3",
		"B5, 16 tokens", "B5, 32 tokens", "B5, 64 tokens",
	}, s.changes)
	prompts := map[string]string{
		"bench-100": "5", "bench-512": "25", "bench-2048": "102",
		"bench-4000": "200",
	}
	for step, prompt := range prompts {
		require.Contains(t, seen, step+"|read-only ceiling|GB/s")
		for _, unit := range []string{"tokens/s", "GB/s"} {
			require.Contains(t, seen, step+"|decode after "+prompt+" tokens|"+unit)
		}
		for _, unit := range []string{"tokens/s", "TFLOP/s", "ms"} {
			require.Contains(t, seen, step+"|prefill of "+prompt+" tokens|"+unit)
		}
	}
	for _, figure := range []string{
		"first-token|program start to first token|s",
		"kernel-times|decode 1/NormLinear qkv|µs",
		"kernel-times|decode 1/NormLinear qkv|GB/s",
		"kernel-times|prefill 16/Attend|TFLOP/s",
		"experiments|Experiment/read/LDG/16KB|GB/s",
		"experiments|Experiment/empty/1block/graph|µs/kernel",
		"experiments|Experiment/chain/prefetch-8MB|GB/s",
		"experiments|Experiment/attention/100/join|µs",
		"experiments|Experiment/token/100cached|µs/token",
		"experiments|Experiment/token/100cached-waiting|µs/token",
		"transformers|phi3: decode after 5 tokens|tokens/s",
		"transformers|transformers: decode after 25 tokens|tokens/s",
	} {
		require.Contains(t, seen, figure)
	}
	row := "| transformers | transformers: %s 5 tokens | %d (median of 3) | tokens/s | – | – | – | – |\n"
	require.Contains(t, s.text, fmt.Sprintf(row, "decode after", 40))
	require.Contains(t, s.text, fmt.Sprintf(row, "prefill of", 1000))
}

// If the driver is broken, every step that uses it fails with the driver's message, and none stops the next.
func TestBrokenDrivers(t *testing.T) {
	none := `.*no NVIDIA driver \(/nonexistent: cannot open shared object file: No such file or directory\).*`
	memory := `.*cuMemAlloc of \d+ bytes: out of memory \(CUDA_ERROR_OUT_OF_MEMORY\).*`
	compile := `.*a PTX JIT compilation failed.*ptxas fatal: no such instruction.*`
	for _, c := range []struct {
		name, env, words string
		passed           string // steps that do not need what it lacks
	}{
		{"no driver", "PHI3_LIBCUDA=/nonexistent", none, ""},
		{
			"no compiler", "PHI3_EMULATOR=jit-error=ptxas fatal: no such instruction", compile,
			"doctor checkpoint",
		},
		{"no memory", "PHI3_EMULATOR=fail-alloc=1", memory, "doctor checkpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t)
			k.env = append(k.env, c.env)
			k.tool("compute-sanitizer", `while [[ $1 == --* ]]; do shift 2; done; exec "$@"`)
			k.tool("python3", `[ "$1" = -c ] && exit; echo "RuntimeError: no GPU"; exit 1`)
			k.tool("nvidia-smi", `echo "NVIDIA-SMI has failed"; exit 9`)
			status, _ := k.run("10", k.out, "--short")
			require.Equal(t, 1, status)
			rows := with([2]string{"failed", c.words}, map[string][2]string{
				"conformance": {"failed", `TestConformance.*: .+`}, // the emulator may not have these kernels
			})
			for _, name := range strings.Fields(c.passed) {
				rows[name] = [2]string{"passed", ""}
			}
			k.require(rows)
			s := k.summary()
			require.Equal(t, "complete", s.head["this run"])
			require.Equal(t, "NVIDIA-SMI has failed", s.head["driver"])
			if c.name == "no driver" {
				require.Regexp(t, `^\*\*none: `+none+`\*\*$`, s.head["card"])
			}
		})
	}
}

// A kernel that faults fails only the tests of its own process.
func TestFaultingKernel(t *testing.T) {
	k := newKit(t)
	k.env = append(k.env, "PHI3_EMULATOR=fault=attention_decode_96")
	status, _ := k.run("10", k.out, "--short", "--only", "verify,kernels")
	require.Equal(t, 1, status)
	k.require(with([2]string{"not run", "left out by --only"}, map[string][2]string{
		"verify":  {"failed", `.*attention_decode_96.*illegal memory access.*`},
		"kernels": {"failed", `TestAttention/\S+: .*illegal memory access.*`},
	}))
	text, err := os.ReadFile(k.out + "/steps/kernels.txt")
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`(?m)^--- PASS: `).FindAll(text, -1), 10, "%s", text)
}

// A finding of a sanitizer fails its step, even if every test passes.
func TestSanitizerFindings(t *testing.T) {
	k := newKit(t)
	k.tool("compute-sanitizer", `echo "--- PASS: TestLinear (0.00s)"
echo PASS
echo "========= ERROR SUMMARY: 3 errors"
exit 1`)
	status, _ := k.run("10", k.out, "--short", "--only", "memcheck,racecheck")
	require.Equal(t, 1, status)
	finding := [2]string{"failed", "========= ERROR SUMMARY: 3 errors"}
	k.require(with([2]string{"not run", "left out by --only"}, map[string][2]string{
		"memcheck": finding, "racecheck": finding,
	}))
}

// slow is a phi3 whose verify prints that it has started, and never ends.
const slow = `case "$1" in verify) echo "I am $$"; exec sleep 1000 ;; esac; exec "$0.real" "$@"`

// started starts run.sh, waits until its step verify runs, and returns the process of that step.
func (k *kit) started(args ...string) (cmd *exec.Cmd, verify int) {
	k.t.Helper()
	k.replaceProgram(slow)
	cmd = exec.Command("bash", append([]string{k.dir + "/run.sh"}, args...)...)
	cmd.Env, cmd.SysProcAttr = k.env, &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	require.NoError(k.t, cmd.Start())
	for range 3000 {
		text, _ := os.ReadFile(k.out + "/steps/verify.txt") // there soon
		if _, err := fmt.Sscanf(string(text), "I am %d", &verify); err == nil {
			return cmd, verify
		}
		time.Sleep(10 * time.Millisecond)
	}
	k.t.Fatal("verify has not started within 30 s")
	return nil, 0
}

// alive reports whether a process runs. A zombie does not.
func alive(process int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	return err == nil && !bytes.Contains(text, []byte(") Z "))
}

func TestInterruptedRun(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{
		"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP,
	} {
		t.Run(name, func(t *testing.T) {
			// by nohup: programs that it starts ignore it too, as the user wants
			if osSignal.Ignored(signal) {
				t.Skip("these tests run with " + name + " ignored")
			}
			k := newKit(t)
			cmd, verify := k.started("10", k.out, "--short")
			require.NoError(t, syscall.Kill(-cmd.Process.Pid, signal))
			require.Error(t, cmd.Wait())
			require.Equal(t, 128+int(signal), cmd.ProcessState.ExitCode())
			require.False(t, alive(verify), "the step outlived run.sh")
			k.require(with([2]string{"not run", "interrupted by " + name}, map[string][2]string{
				"doctor": {"passed", ""},
				"verify": {"stopped", "interrupted by " + name + `; last line: I am \d+`},
			}))
			require.Equal(t, "interrupted by "+name, k.summary().head["this run"])
			all, err := os.ReadFile(k.out + "/all.txt")
			require.NoError(t, err)
			require.Contains(t, string(all), k.summary().text)
		})
	}
}

// However run.sh ends, there is a summary of the steps before.
func TestKilledRun(t *testing.T) {
	k := newKit(t)
	cmd, verify := k.started("10", k.out, "--short")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	left := func() (folders []string) {
		for _, dir := range []string{"/dev/shm", filepath.Dir(k.out)} {
			pattern := fmt.Sprintf("%s/phi3-gpu-kit.%d.*", dir, cmd.Process.Pid)
			found, _ := filepath.Glob(pattern) // a well-formed one
			folders = append(folders, found...)
		}
		return folders
	}
	require.Len(t, left(), 1)
	require.True(t, alive(verify), "the step goes on by itself")
	k.require(with([2]string{"not run", "run.sh ended before it"}, map[string][2]string{
		"doctor": {"passed", ""}, "verify": {"running", ".*"},
	}))
	require.Equal(t, "not at its end", k.summary().head["this run"])
	k.run("10", k.out, "--only", "doctor")
	require.Empty(t, left(), "the next run removes what this one left")
	require.Eventually(t, func() bool { return !alive(verify) }, 2*time.Minute, 10*time.Millisecond,
		"and ends its step")
}

func TestTimeRunsOut(t *testing.T) {
	k := newKit(t)
	k.replaceProgram(slow)
	status, _ := k.run("0.5", k.out, "--short", "--skip", "doctor")
	k.require(with([2]string{"not run", "no time left"}, map[string][2]string{
		"doctor": {"not run", "left out by --skip"},
		"verify": {"stopped", `no time left; last line: I am \d+`},
	}))
	require.Zero(t, status, "nothing failed")
}

// A step that exceeds its own limit fails, and the next one runs.
func TestStepWithoutEnd(t *testing.T) {
	k := newKit(t)
	k.replaceProgram(slow)
	script, err := os.ReadFile(k.dir + "/run.sh")
	require.NoError(t, err)
	limited := strings.Replace(string(script), `"verify        90`, `"verify        10`, 1)
	require.NotEqual(t, string(script), limited)
	require.NoError(t, os.Remove(k.dir+"/run.sh")) // it is a link
	k.write(k.dir+"/run.sh", limited)
	status, _ := k.run("10", k.out, "--short", "--only", "verify,no-cache")
	require.Equal(t, 1, status)
	k.require(with([2]string{"not run", "left out by --only"}, map[string][2]string{
		"verify":   {"failed", `no end within 10 s; last line: I am \d+`},
		"no-cache": {"passed", ""},
	}))
}

func TestGivenCheckpoint(t *testing.T) {
	k := newKit(t)
	k.tool("python3", `echo "ModuleNotFoundError: No module named 'torch'" >&2; exit 1`)
	model := k.dir + "/internal/demo/checkpoint"
	only := "bench-100,transformers,memcheck"
	status, _ := k.run("10", k.out, "--short", "--checkpoint", model, "--only", only)
	require.Zero(t, status)
	k.require(with([2]string{"not run", "left out by --only"}, map[string][2]string{
		"checkpoint":   {"skipped", "--checkpoint gives the model: " + model},
		"bench-100":    {"passed", ""},
		"memcheck":     {"skipped", "there is no compute-sanitizer, which comes with the CUDA toolkit"},
		"transformers": {"skipped", "ModuleNotFoundError: No module named 'torch'"},
	}))
	require.FileExists(t, model+"/config.json")
}

// If the GPU's text differs from the CPU's, the step generate fails.
func TestDifferentText(t *testing.T) {
	k := newKit(t)
	k.replaceProgram(`case "$*" in *f32*cuda*) echo " Paris." ;; *) exec "$0.real" "$@" ;; esac`)
	status, _ := k.run("10", k.out, "--only", "generate")
	require.Equal(t, 1, status)
	k.require(with([2]string{"not run", "left out by --only"}, map[string][2]string{
		"generate": {"failed", `f32: the GPU writes ' Paris\.', the CPU ' Berlin\..*'`},
	}))
}

func TestUsage(t *testing.T) {
	k := newKit(t)
	status, said := k.run("--list")
	require.Zero(t, status)
	var listed []string
	for line := range strings.Lines(said) {
		name, rest, _ := strings.Cut(line, " ")
		listed = append(listed, name)
		require.Regexp(t, `^ *[1-9]\d* \S`, rest)
	}
	require.Equal(t, steps, listed)
	const notMinutes = ", not a number above 0 such as 10 or 0.5; --help says more\n"
	known := "the steps are " + strings.Join(steps, " ") + "\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "run.sh: MINUTES is ''" + notMinutes},
		{[]string{"ten"}, "run.sh: MINUTES is 'ten'" + notMinutes},
		{[]string{"0"}, "run.sh: MINUTES is '0'" + notMinutes},
		{[]string{"1", "--only", ","}, "run.sh: --only ',' names no step\n"},
		{[]string{"1", "a", "b"}, "run.sh: unexpected argument b\n"},
		{[]string{"1", "--olny", "verify"}, "run.sh: there is no option --olny; --help lists them\n"},
		{[]string{"1", "--only"}, "run.sh: --only needs a value\n"},
		{[]string{"1", "--only", "verify,bench"}, "run.sh: --only: there is no step bench; " + known},
		{[]string{"1", "--skip", "x"}, "run.sh: --skip: there is no step x; " + known},
		{[]string{"1", "--checkpoint", "/no"}, "run.sh: --checkpoint /no: there is no /no/config.json\n"},
	} {
		status, said := k.run(c.args...)
		require.Equal(t, 2, status)
		require.Equal(t, c.want, said)
	}
	require.NoDirExists(t, filepath.Dir(k.out)+"/gpu-results")
}
