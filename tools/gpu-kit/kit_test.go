//go:build cuda && linux

// Package kit has no code. Its tests test the scripts in this folder, which `make gpu-kit` packs.
package kit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/kernels/emulator"
)

// The steps in their order, as --list shows them.
var steps = strings.Fields(`doctor verify generate no-cache conformance kernels models checkpoint
	bench-100 bench-4000 kernel-times experiments bench-2048 bench-512 first-token backend commands
	memcheck racecheck transformers`)

var built struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // the system cleans up its folder for temporary files too
	}
	os.Exit(code)
}

// folder is the kit as make gpu-kit-folder makes it, without modules of GPU code: so it does not depend on
// whether there was an nvcc.
func folder(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing here is compiled for the race detector, and the kit takes a minute")
	}
	for _, tool := range []string{"make", "gcc", "g++"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "phi3-kit-test"); built.err != nil {
			return
		}
		cmd := exec.Command("make", "-C", "../..", "gpu-kit-folder", "KIT="+built.dir+"/kit")
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // of a make that runs these tests
			return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS")
		})
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("make gpu-kit-folder: %w\n%s", err, out)
			return
		}
		// a well-formed pattern
		modules, _ := filepath.Glob(built.dir + "/kit/internal/cuda/testdata/*.fatbin")
		for _, module := range modules {
			built.err = errors.Join(built.err, os.Remove(module))
		}
	})
	require.NoError(t, built.err)
	return built.dir + "/kit"
}

// version is what the kit's program says of itself.
func version(t *testing.T) string {
	out, err := exec.Command(folder(t)+"/phi3", "--version").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// kit is a copy of the kit, whose files a test may replace, and the environment in which it runs.
type kit struct {
	t        *testing.T
	dir, out string
	env      []string
}

func newKit(t *testing.T) *kit {
	t.Helper()
	from := folder(t)
	temp := t.TempDir()
	k := &kit{t: t, dir: temp + "/a kit", out: temp + "/results"}
	require.NoError(t, filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := k.dir + strings.TrimPrefix(path, from)
		if entry.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		return os.Link(path, to)
	}))
	library, err := emulator.Build(emulator.Fast, moduleKernels(t)...)
	if errors.Is(err, emulator.ErrUnavailable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	// the emulator has the kernels and takes any file
	for _, module := range []string{"conformance", "experiments"} {
		k.write(k.dir+"/internal/cuda/testdata/"+module+".fatbin", "any")
	}
	require.NoError(t, os.MkdirAll(temp+"/bin", 0o755))
	k.env = append(os.Environ(), "PATH="+temp+"/bin:"+os.Getenv("PATH"), "PHI3_LIBCUDA="+library,
		"TMPDIR="+temp)
	return k
}

// moduleKernels are the kernels of the conformance module and of the experiments' module, as far as the
// emulator can run them. An experiment whose kernels are not named here is skipped.
func moduleKernels(t *testing.T) (extra []emulator.Extra) {
	t.Helper()
	for name, kernels := range map[string]string{
		"conformance.cu": "sum_mma load_matrices copy_async convert powers",
		"experiments/experiments.cu": `fill_bf16 fill_words empty empty_pdl in_order in_order_pdl
			read_ldg_16 read_ldg_64 read_cp_async_16 read_cp_async_64 attention_serial_join_96`,
	} {
		extra = append(extra, emulator.Extra{Name: name, Kernels: strings.Fields(kernels)})
	}
	files, err := filepath.Glob("../../kernels/experiments/*.cu*")
	require.NoError(t, err)
	for _, file := range files {
		if name := "experiments/" + filepath.Base(file); name != extra[0].Name && name != extra[1].Name {
			extra = append(extra, emulator.Extra{Name: name})
		}
	}
	for i := range extra {
		file := "../../kernels/" + extra[i].Name
		if extra[i].Name == "conformance.cu" {
			file = "../../internal/cuda/testdata/conformance.cu"
		}
		extra[i].Text, err = os.ReadFile(file)
		require.NoError(t, err)
	}
	return extra
}

// replaceProgram puts a script in the place of phi3, which it finds beside it as phi3.real.
func (k *kit) replaceProgram(script string) {
	k.t.Helper()
	require.NoError(k.t, os.Rename(k.dir+"/phi3", k.dir+"/phi3.real"))
	k.write(k.dir+"/phi3", script)
}

// tool puts a script into the path.
func (k *kit) tool(name, script string) { k.write(filepath.Dir(k.out)+"/bin/"+name, script) }

func (k *kit) write(path, script string) {
	k.t.Helper()
	require.NoError(k.t, os.WriteFile(path, []byte("#!/usr/bin/env bash\n"+script), 0o755))
}

// run runs run.sh to its end, from another folder, and returns its exit status and what it said.
func (k *kit) run(args ...string) (status int, said string) {
	k.t.Helper()
	cmd := exec.Command("bash", append([]string{k.dir + "/run.sh"}, args...)...)
	cmd.Dir, cmd.Env = filepath.Dir(k.out), k.env
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(k.t, err, "%s", out)
	}
	k.t.Logf("run.sh %s:\n%s", strings.Join(args, " "), out)
	return cmd.ProcessState.ExitCode(), string(out)
}

// summary is summary.md's tables, row by row.
type summary struct {
	text    string
	head    map[string]string
	order   []string
	state   map[string]string
	words   map[string]string
	changes []string // the first cell of each row of the table of changes
	// step, figure, value, unit, predicted, of the prediction, of the copy, of the read-only ceiling
	figures [][]string
}

func (k *kit) summary() summary {
	k.t.Helper()
	text, err := os.ReadFile(k.out + "/summary.md")
	require.NoError(k.t, err)
	s := summary{
		text: string(text), head: map[string]string{}, state: map[string]string{}, words: map[string]string{},
	}
	for line := range strings.Lines(s.text) {
		line = strings.ReplaceAll(strings.TrimSpace(line), `\|`, "¦") // no border
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|") || cells[0] == "step" || strings.Trim(cells[0], "-") == "":
		case len(cells) == 2:
			s.head[cells[0]] = cells[1]
		case len(cells) == 4:
			s.order = append(s.order, cells[0])
			s.state[cells[0]], s.words[cells[0]] = strings.Trim(cells[1], "*"), cells[3]
		case len(cells) == 5 && cells[0] == "change": // the table's head
		case len(cells) == 5:
			s.changes = append(s.changes, cells[0])
		case len(cells) == 8:
			s.figures = append(s.figures, cells)
		default:
			k.t.Errorf("a row of %d cells: %s", len(cells), line)
		}
	}
	require.Equal(k.t, steps, s.order)
	return s
}

// require checks the rows: want has a state and a pattern for the words of each step.
func (k *kit) require(want map[string][2]string) {
	k.t.Helper()
	s := k.summary()
	for _, name := range steps {
		require.Contains(k.t, want, name)
		require.Equal(k.t, want[name][0], s.state[name], "%s: %s", name, s.words[name])
		require.Regexp(k.t, "^("+want[name][1]+")$", s.words[name], name)
	}
}

// with are the rows of all steps but some.
func with(all [2]string, but map[string][2]string) map[string][2]string {
	rows := map[string][2]string{}
	for _, name := range steps {
		rows[name] = all
		if row, ok := but[name]; ok {
			rows[name] = row
		}
	}
	return rows
}
