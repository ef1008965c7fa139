package emulator

import "errors"

// Kind is a kind of library.
type Kind int

// The kinds, see the package comment.
const (
	Fast Kind = iota
	Checked
)

// Extra is a file of kernels that are no part of phi3, such as a test's.
type Extra struct {
	Name    string // path as if the file lay in kernels/: where its own includes are looked up, beside kernels/ itself
	Text    []byte
	Kernels []string // names of its kernels; none if it is a header of others
}

// ErrUnavailable says that the emulator cannot be built on this machine. Tests skip then.
var ErrUnavailable = errors.New("the emulator of the GPU cannot be built")
