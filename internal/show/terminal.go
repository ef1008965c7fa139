package show

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal reports whether w, a reader or a writer, is a terminal.
func IsTerminal(w any) bool {
	if escaping, ok := w.(*Writer); ok {
		w = escaping.Unwrap()
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Bare returns the writer below a [Writer], for phi3's own control sequences, such as bars and colours.
func Bare(w io.Writer) io.Writer {
	if escaping, ok := w.(*Writer); ok {
		return escaping.Unwrap()
	}
	return w
}

// TerminalWidth returns the number of columns of the terminal w, 0 if w is not a terminal.
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
