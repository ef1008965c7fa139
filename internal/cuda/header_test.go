//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// realInclude is the directory of one of NVIDIA's cuda.h.
func realInclude(t *testing.T) string {
	if onGPU {
		t.Skip("about the build, not about this GPU")
	}
	dir := os.Getenv("PHI3_CUDA_INCLUDE")
	if dir == "" {
		dir = "/usr/local/cuda/include"
	}
	if _, err := os.Stat(filepath.Join(dir, "cuda.h")); err != nil {
		t.Skipf("no cuda.h of NVIDIA's to compare with: %v (set PHI3_CUDA_INCLUDE to its directory)", err)
	}
	return dir
}

// declarations are what a header in the style of include/cuda.h declares, found line by line.
type declarations struct {
	constants  []string
	types      []string
	fields     [][2]string // struct type, field
	prototypes []string    // complete declarations
}

var (
	constantLine = regexp.MustCompile(`^\t(CU\w+) = (\w+),$`)
	typeLine     = regexp.MustCompile(`^typedef [^{]*?(\w+);`)
	hostFnLine   = regexp.MustCompile(`^typedef .*\(\*(\w+)\)\(`)
	openLine     = regexp.MustCompile(`^typedef (struct|union|enum)\b.*\{$`)
	closeLine    = regexp.MustCompile(`^\} (\w+);$`)
	fieldLine    = regexp.MustCompile(`^\t[\w *]+?(\w+)(\[\d+\])?;$`)
	symbol       = regexp.MustCompile(`\bcu\w+`)
	skippedLine  = regexp.MustCompile(`^(//.*|#.*|extern "C" \{|\}|enum \{|\};|)$`)
)

func parseHeader(t *testing.T, file string) declarations {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var d declarations
	var fields []string
	lines := strings.Split(string(b), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimRight(strings.Split(lines[i], " //")[0], " ")
		switch {
		case skippedLine.MatchString(line), openLine.MatchString(line):
		case constantLine.MatchString(line):
			d.constants = append(d.constants, constantLine.FindStringSubmatch(line)[1])
		case closeLine.MatchString(line):
			name := closeLine.FindStringSubmatch(line)[1]
			d.types = append(d.types, name)
			for _, f := range fields {
				d.fields = append(d.fields, [2]string{name, f})
			}
			fields = nil
		case hostFnLine.MatchString(line):
			d.types = append(d.types, hostFnLine.FindStringSubmatch(line)[1])
		case strings.HasPrefix(line, "typedef CUDA_"): // the plain name of a versioned struct
		case typeLine.MatchString(line):
			d.types = append(d.types, typeLine.FindStringSubmatch(line)[1])
		case fieldLine.MatchString(line):
			fields = append(fields, fieldLine.FindStringSubmatch(line)[1])
		case strings.HasPrefix(line, "CUresult cu"):
			for !strings.HasSuffix(line, ");") {
				i++
				line += " " + strings.TrimSpace(lines[i])
			}
			d.prototypes = append(d.prototypes, line)
		default:
			t.Fatalf("%s:%d: this test cannot read %q", file, i+1, line)
		}
	}
	return d
}

// runC compiles a program and returns what it prints.
func runC(t *testing.T, include, source string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	compileC(t, source, "-I", include, "-o", program)
	out, err := exec.Command(program).Output()
	require.NoError(t, err)
	return string(out)
}

func compileC(t *testing.T, source string, flags ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program.c")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o644))
	// With __CUDA_API_VERSION_INTERNAL NVIDIA's header declares every symbol under its own name,
	// including the old ones.
	out, err := exec.Command("gcc", append(flags, "-w", "-D__CUDA_API_VERSION_INTERNAL",
		file)...).CombinedOutput()
	require.NoError(t, err, "gcc: %s", out)
}

// TestHeaderAgainstNVIDIAs compares the values, layouts and types of everything in include/cuda.h with a real
// cuda.h.
func TestHeaderAgainstNVIDIAs(t *testing.T) {
	theirs := realInclude(t)
	ours := "include"
	d := parseHeader(t, filepath.Join(ours, "cuda.h"))
	t.Logf("%d constants, %d types, %d fields, %d functions", len(d.constants), len(d.types), len(d.fields),
		len(d.prototypes))
	require.Greater(t, len(d.constants), 280)
	require.Greater(t, len(d.types), 45)
	require.Greater(t, len(d.fields), 90)
	require.Greater(t, len(d.prototypes), 160)

	var facts strings.Builder
	facts.WriteString("#include <cuda.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n")
	for _, c := range d.constants {
		value := c
		if strings.HasSuffix(c, "_FLAGS_MASK") {
			value += " & 31" // all flags there are: later versions have more than 11.8
		}
		fmt.Fprintf(&facts, "\tprintf(\"%%s = %%lld\\n\", \"%s\", (long long)(%s));\n", c, value)
	}
	for _, typ := range d.types {
		fmt.Fprintf(&facts, "\tprintf(\"%%s: %%zu bytes\\n\", \"%s\", sizeof(%s));\n", typ, typ)
	}
	for _, f := range d.fields {
		fmt.Fprintf(&facts, "\tprintf(\"%%s.%%s: at %%zu, %%zu bytes\\n\", \"%s\", \"%s\", offsetof(%s, "+
			"%s), sizeof((%s){0}.%s));\n",
			f[0], f[1], f[0], f[1], f[0], f[1])
	}
	facts.WriteString("}\n")
	require.Equal(t, runC(t, theirs, facts.String()), runC(t, ours, facts.String()))

	// The array compiles only if NVIDIA's header declares every function. A second declaration compiles
	// only if its type is the same.
	var functions strings.Builder
	functions.WriteString("#include <cuda.h>\nvoid *functions[] = {\n")
	for _, p := range d.prototypes {
		fmt.Fprintf(&functions, "\t%s,\n", symbol.FindString(p))
	}
	functions.WriteString("};\n" + strings.Join(d.prototypes, "\n"))
	compileC(t, functions.String(), "-I", theirs, "-fsyntax-only")
}

// TestForwardersForNVIDIAsHeader checks that whatever symbol a real cuda.h gives to a function of
// gorgonia.org/cu has a forwarder, so that a build against that header links.
func TestForwardersForNVIDIAsHeader(t *testing.T) {
	theirs := realInclude(t)
	b, err := os.ReadFile("forward_list.h")
	require.NoError(t, err)
	forwarded := map[string]bool{"cuInit": true}
	for _, m := range regexp.MustCompile(`X\(\d+, (\w+)\)`).FindAllStringSubmatch(string(b), -1) {
		forwarded[m[1]] = true
	}
	var source strings.Builder
	source.WriteString("#include <cuda.h>\n")
	names := map[string]bool{}
	for _, p := range parseHeader(t, "include/cuda.h").prototypes {
		name := regexp.MustCompile(`_v\d$`).ReplaceAllString(symbol.FindString(p), "")
		names[name] = true
		fmt.Fprintf(&source, "@\"%s\"=%s\n", name, name)
	}
	file := filepath.Join(t.TempDir(), "names.c")
	require.NoError(t, os.WriteFile(file, []byte(source.String()), 0o644))
	out, err := exec.Command("gcc", "-E", "-P", "-I", "include/cuda13", "-I", theirs, file).Output()
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^@"(\w+)"=(\w+)$`).FindAllStringSubmatch(string(out), -1)
	require.Len(t, found, len(names))
	for _, m := range found {
		require.True(t, forwarded[m[2]],
			"NVIDIA's header calls %s %s, which has no forwarder: see newer in generate_forward.go", m[1],
			m[2])
	}
}
