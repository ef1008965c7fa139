package kernels

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// compiled holds phi3_80.ptx and phi3_90.ptx, which are committed, and phi3.fatbin where `make kernels` was
// run. Each is fresh if the hash of the sources it was made from is [sourcesHash]: PTX has it in its first
// line, the fatbin in a file beside it, which also lists the GPUs that the fatbin holds code for.
//
//go:embed compiled
var compiled embed.FS

// Code is the compiled kernels in one of their forms.
type Code struct {
	Image  []byte // as cuModuleLoadData takes it
	Native string // the architecture of its machine code, such as sm_90a; "": PTX, which the driver compiles
	// Virtual is the virtual architecture that the sources were compiled for: 80, or 90, which has dependent
	// launches.
	Virtual int
}

// virtual is the virtual architecture that the code for a GPU of compute capability major.x is compiled from.
func virtual(major int) int {
	if major >= 9 {
		return 90
	}
	return 80
}

// For returns the code that a GPU of this compute capability can run, the best first: native code, if `make
// kernels` compiled it from these sources, and then PTX. PTX is always there, because a driver that is older
// than the compiler of the native code may refuse that code.
func For(major, minor int) []Code { return codeFor(compiled, sourcesHash(), major, minor) }

func codeFor(compiled fs.FS, hash string, major, minor int) []Code {
	var codes []Code
	made, err := fs.ReadFile(compiled, "compiled/phi3.fatbin.sources")
	if words := strings.Fields(string(made)); err == nil && len(words) > 0 && words[0] == hash {
		// ascending: the driver takes the last that runs too
		for _, arch := range slices.Backward(words[1:]) {
			if !runs(arch, major, minor) {
				continue
			}
			if fatbin, err := fs.ReadFile(compiled, "compiled/phi3.fatbin"); err == nil {
				codes = append(codes, Code{fatbin, arch, virtual(major)})
			}
			break
		}
	}
	name := fmt.Sprintf("compiled/phi3_%d.ptx", virtual(major))
	ptx, _ := fs.ReadFile(compiled, name) // always there: a test sees to it
	return append(codes, Code{Image: ptx, Virtual: virtual(major)})
}

// runs reports whether a GPU runs machine code for arch: code for sm_80 runs on compute capability 8.0 and
// newer ones of the same major number, code for sm_90a on 9.0 alone.
func runs(arch string, major, minor int) bool {
	var number int
	var suffix string
	n, _ := fmt.Sscanf(arch, "sm_%d%s", &number, &suffix)
	if n == 0 || number/10 != major {
		return false
	}
	return number%10 == minor || suffix == "" && number%10 < minor
}

// sourcesHash is the SHA-256 of the sources and flags, one file after another in the order of their names.
// The Makefile computes the same.
func sourcesHash() string {
	hash := sha256.New()
	files, _ := Sources.ReadDir(".")
	for _, f := range files {
		text, _ := Sources.ReadFile(f.Name())
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
