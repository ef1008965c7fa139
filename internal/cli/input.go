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

// inputFlags say where a text comes from: a flag, a file, stdin, or several of them.
type inputFlags struct {
	name  string // of the text, and of the flag that holds it
	text  string
	file  string
	from  *fileFlag // --file
	whole bool      // a newline at the end is part of the text
	flags *pflag.FlagSet
}

func (f *inputFlags) register(flags *pflag.FlagSet, name, shorthand string) {
	f.name, f.flags = name, flags
	flags.StringVarP(&f.text, name, shorthand, "", "the "+name+"; - reads it from stdin")
	f.from = &fileFlag{flags: flags, text: &f.file}
	flags.VarP(f.from, "file", "f",
		"`file` with the "+name+", which follows --"+name+" if both are given; - is stdin")
}

// inputHelp returns the paragraph about these flags for a command's help. ending says what happens to a
// newline at the end of a file or a pipe.
func inputHelp(name, ending string) string {
	return fmt.Sprintf(`phi3 joins the text of --%[1]s, of --file and of a pipe on stdin, in this order, with an
empty line between them. %[3]s If a flag
gives text and the pipe sends nothing for %[2]d seconds, phi3 continues without the pipe.
It does not read a file on stdin that a shell loop has begun to read. In a loop that
reads a pipe, add "< /dev/null". Texts are UTF-8, or UTF-16 with a byte order mark.`,
		name, int(input.Patience.Seconds()), ending)
}

// newlineDropped is the ending of inputHelp for most commands.
const newlineDropped = "phi3 drops one newline at the end of a file or a pipe."

// read returns the text in valid UTF-8, and warns if that changed it.
func (f *inputFlags) read(ctx context.Context, s *streams) (string, error) {
	byFlag, byFile := f.flags.Changed(f.name), f.from.given
	switch {
	case byFlag && byFile && f.text == "-" && f.file == "-":
		return "", usage.Errorf("--%s and --file both name stdin", f.name)
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
			_, _ = show.Fprintf(s.err, "warning: nothing came from %s for %d seconds, so the %s is without "+
				"it; use --file - to wait, or < /dev/null to read nothing\n",
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
