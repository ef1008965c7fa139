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
	Name    string // path below kernels/. Its includes are looked up in its own folder and in kernels/
	Text    []byte
	Kernels []string // names of its kernels; none if it is a header of others
}

// Mutant is a mistake in a file.
type Mutant struct {
	File         string // path below kernels/
	Old, Mistake string // what is replaced, which must be there once, and by what
	// Heads lets less be compiled: attention for heads of these widths and no matrix products, or, if there
	// are none, everything but attention. nil: all.
	Heads []int
}

// ErrUnavailable says that the emulator cannot be built on this machine. Tests skip then.
var ErrUnavailable = errors.New("the emulator of the GPU cannot be built")
