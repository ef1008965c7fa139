package emulator

import "errors"

// Kind is a kind of library.
type Kind int

// The kinds, see the package comment.
const (
	Fast Kind = iota
	Checked
)

// Extra is a file of kernels that are not part of phi3, such as a test's.
type Extra struct {
	Name    string // path below kernels/; #include searches its own folder and kernels/
	Text    []byte
	Kernels []string // names of its kernels; none in a header
}

// Mutant is a mistake in a file.
type Mutant struct {
	File         string // path below kernels/
	Old, Mistake string // Old, which must occur exactly once, is replaced by Mistake
	// Heads limits what is compiled. nil: everything. Empty: everything but attention. Otherwise:
	// everything but the matrix products, and attention only for heads of these widths.
	Heads []int
}

// ErrUnavailable says that the emulator cannot be built on this machine. Tests skip then.
var ErrUnavailable = errors.New("the emulator of the GPU cannot be built")
