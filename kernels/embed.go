package kernels

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"strings"
)

// compiled holds phi3.ptx, which is committed, and phi3.fatbin where `make kernels` was run. Either is fresh if the hash of the
// sources it was made from is [sourcesHash]: the PTX has it in its first line, the fatbin in a file beside it.
//
//go:embed compiled
var compiled embed.FS

// Image is the compiled kernels as cuModuleLoadData takes them: native code for several generations of GPUs if `make kernels` has
// compiled it from these very sources, else PTX, which the driver compiles.
func Image() []byte { return image(compiled, sourcesHash()) }

func image(compiled fs.FS, hash string) []byte {
	if made, err := fs.ReadFile(compiled, "compiled/phi3.fatbin.sources"); err == nil && strings.TrimSpace(string(made)) == hash {
		if fatbin, err := fs.ReadFile(compiled, "compiled/phi3.fatbin"); err == nil {
			return fatbin
		}
	}
	ptx, _ := fs.ReadFile(compiled, "compiled/phi3.ptx") // always there: a test sees to it
	return ptx
}

// sourcesHash is the SHA-256 of the sources and flags, one file after another in the order of their names. The Makefile computes
// the same.
func sourcesHash() string {
	hash := sha256.New()
	files, _ := Sources.ReadDir(".")
	for _, f := range files {
		text, _ := Sources.ReadFile(f.Name())
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
