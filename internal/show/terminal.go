package show

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal tells whether a person sees what is written to w, or types what is read from it.
func IsTerminal(w any) bool {
	if escaping, ok := w.(*Writer); ok {
		w = escaping.Unwrap()
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Bare is the writer behind a [Writer], for the program's own control sequences: bars and colours.
func Bare(w io.Writer) io.Writer {
	if escaping, ok := w.(*Writer); ok {
		return escaping.Unwrap()
	}
	return w
}

// TerminalWidth is the number of columns of the terminal that w writes to, 0 if it is no terminal.
func TerminalWidth(w io.Writer) int {
	f, ok := Bare(w).(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
