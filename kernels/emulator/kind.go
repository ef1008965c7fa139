package emulator

import "errors"

// Kind is a kind of library.
type Kind int

// The kinds, see the package comment.
const (
	Fast Kind = iota
	Checked
)

// ErrUnavailable says that the emulator cannot be built on this machine. Tests skip then.
var ErrUnavailable = errors.New("the emulator of the GPU cannot be built")
