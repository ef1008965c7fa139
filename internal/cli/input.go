package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/input"
	"phi3/internal/show"
	"phi3/internal/usage"
)

// inputFlags say where a text comes from: a flag, a file and stdin, or several of them.
type inputFlags struct {
	name  string // what the text is: also the flag that holds it
	text  string
	file  string
	whole bool // a last newline is part of the text
	flags *pflag.FlagSet
}

func (f *inputFlags) register(flags *pflag.FlagSet, name, shorthand string) {
	f.name, f.flags = name, flags
	flags.StringVarP(&f.text, name, shorthand, "", "the "+name+"; - reads it from stdin, as a pipe does")
	flags.StringVarP(&f.file, "file", "f", "",
		"`file` to read the "+name+" from, after --"+name+" if both are given; - is stdin")
}

// inputHelp is the paragraph about these flags in a command's help. ending says what happens to a newline at
// the end of a file or a pipe.
func inputHelp(name, ending string) string {
	return fmt.Sprintf(`The %[1]s is what --%[1]s, --file and a pipe give, in this order, with an empty line
between them. %[3]s A pipe beside one
of the flags is not waited for if it says nothing for %[2]d seconds, and a file that a
loop has begun to read is left to the loop; in a loop over a pipe, add "< /dev/null".
Texts are UTF-8, or UTF-16 with a byte order mark.`, name, int(input.Patience.Seconds()), ending)
}

// newlineDropped is what most commands do.
const newlineDropped = "One newline at the end of a file or a pipe is dropped."

// read returns the text as the user gave it, in valid UTF-8, and warns where that took a change.
func (f *inputFlags) read(ctx context.Context, s *streams) (string, error) {
	byFlag, byFile := f.flags.Changed(f.name), f.flags.Changed("file")
	switch {
	case byFlag && byFile && f.text == "-" && f.file == "-":
		return "", usage.Errorf("--%s and --file both are stdin", f.name)
	case !byFlag && !byFile && !input.Piped(s.in):
		return "", usage.Errorf("no %[1]s: give --%[1]s, --file, or pipe it in", f.name)
	}
	var parts []string
	read := func(from string, open func() (io.ReadCloser, error), optional bool) error {
		part, err := f.readFrom(ctx, s, from, open, optional)
		if part != "" {
			parts = append(parts, part)
		}
		return err
	}
	if byFlag && f.text != "-" {
		parts = append(parts, f.text)
	}
	if byFile && f.file != "-" {
		if err := read(f.file, func() (io.ReadCloser, error) { return os.Open(f.file) }, false); err != nil {
			return "", err
		}
	}
	named := f.text == "-" || f.file == "-"
	optional := (byFlag || byFile) && !named
	if named || input.Piped(s.in) && !(optional && input.PartlyRead(s.in)) {
		stdin := func() (io.ReadCloser, error) { return io.NopCloser(s.in), nil }
		if err := read("stdin", stdin, optional); err != nil {
			return "", err
		}
	}
	return validUTF8(f.name, strings.Join(parts, "\n\n"), s), nil
}

// readFrom reads one text to its end, or until ctx is done. An optional text that does not begin within
// [input.Patience] is left out.
func (f *inputFlags) readFrom(
	ctx context.Context, s *streams, from string, open func() (io.ReadCloser, error), optional bool,
) (string, error) {
	_, _ = show.Fprintf(s.details(), "reading the %s from %s\n", f.name, from)
	silent := func() (wait bool) {
		if optional {
			_, _ = show.Fprintf(s.err, "warning: nothing came from %s for %d seconds, and the %s goes without it; "+
				"--file - waits for a pipe, and < /dev/null looks for none\n",
				from, int(input.Patience.Seconds()), f.name)
			return false
		}
		_, _ = show.Fprintf(s.notes(), "waiting for the %s from %s\n", f.name, from)
		return true
	}
	text, err := input.ReadText(ctx, open, silent)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, input.ErrSilent):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the %s from %s: %w", f.name, from, err)
	case f.whole:
		return string(text), nil
	}
	return input.TrimNewline(text), nil
}

// validUTF8 returns a text as valid UTF-8, and warns where that changed it.
func validUTF8(name, text string, s *streams) string {
	valid, warnings := input.Valid(text)
	for _, warning := range warnings {
		_, _ = show.Fprintf(s.err, "warning: the %s %s\n", name, warning)
	}
	return valid
}
