package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// inputFlags say where a text comes from: a flag, a file and stdin, or several of them.
type inputFlags struct {
	name  string // what the text is: also the flag that holds it
	text  string
	file  string
	whole bool // a last newline is part of the text
	flags *pflag.FlagSet
}

// maxInput is the longest text that is read, in bytes. It is far more than any context holds, and little
// memory.
const maxInput = 64 << 20

// pipeWait is how long a pipe beside another text may say nothing: a program that starts this one may leave
// it open and never write.
const pipeWait = 5 * time.Second

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
Texts are UTF-8, or UTF-16 with a byte order mark.`, name, int(pipeWait.Seconds()), ending)
}

// newlineDropped is what most commands do.
const newlineDropped = "One newline at the end of a file or a pipe is dropped."

// read returns the text as the user gave it, in valid UTF-8, and warns where that took a change.
func (f *inputFlags) read(ctx context.Context, s *streams) (string, error) {
	byFlag, byFile := f.flags.Changed(f.name), f.flags.Changed("file")
	switch {
	case byFlag && byFile && f.text == "-" && f.file == "-":
		return "", usagef("--%s and --file both are stdin", f.name)
	case !byFlag && !byFile && !piped(s.in):
		return "", usagef("no %[1]s: give --%[1]s, --file, or pipe it in", f.name)
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
	if named || piped(s.in) && !(optional && partlyRead(s.in)) {
		stdin := func() (io.ReadCloser, error) { return io.NopCloser(s.in), nil }
		if err := read("stdin", stdin, optional); err != nil {
			return "", err
		}
	}
	return validUTF8(f.name, strings.Join(parts, "\n\n"), s), nil
}

// readFrom reads one text to its end, or until ctx is done: whoever is typing may change their mind, and the
// other end of a named pipe may never come. What waits there is left to end with the process. With optional,
// a text that does not begin within [pipeWait] is left out.
func (f *inputFlags) readFrom(
	ctx context.Context, s *streams, from string, open func() (io.ReadCloser, error), optional bool,
) (string, error) {
	_, _ = show.Fprintf(s.details(), "reading the %s from %s\n", f.name, from)
	begun, done := make(chan struct{}), make(chan error, 1)
	var data []byte
	go func() {
		r, err := open()
		if err == nil {
			data, err = readText(r, func() { close(begun) })
			_ = r.Close()
		}
		done <- err
	}()
	timer := time.NewTimer(pipeWait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-begun:
	case err := <-done:
		done <- err
	case <-timer.C:
		if optional {
			_, _ = show.Fprintf(s.err, "warning: nothing came from %s for %d seconds, and the %s goes "+
				"without it; "+
				"--file - waits for a pipe, and < /dev/null looks for none\n", from, int(pipeWait.Seconds()), f.name)
			return "", nil
		}
		_, _ = show.Fprintf(s.notes(), "waiting for the %s from %s\n", f.name, from)
	}
	var err error
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case err = <-done:
	}
	var file *os.PathError
	switch {
	case errors.As(err, &file):
		return "", fmt.Errorf("read the %s from %s: %w", f.name, from, file.Err)
	case err != nil:
		return "", fmt.Errorf("read the %s from %s: %w", f.name, from, err)
	case f.whole:
		return string(data), nil
	}
	return withoutLastNewline(data), nil
}

// readText reads a text of at most maxInput bytes of UTF-8. It calls begun when there is something, or
// nothing will come.
func readText(r io.Reader, begun func()) ([]byte, error) {
	if f, ok := r.(*os.File); ok {
		// UTF-16 takes up to twice as much
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 2*maxInput {
			begun()
			return nil, fmt.Errorf("it has %s, and at most %s are read", show.Bytes(info.Size()),
				show.Bytes(maxInput))
		}
	}
	raw := bufio.NewReader(r)
	_, _ = raw.Peek(1)
	begun()
	text, err := textReader(raw)
	if err != nil {
		return nil, err
	}
	var pieces [][]byte // without a copy for every doubling
	for left := maxInput + 1; left > 0; {
		piece := make([]byte, min(1<<20, left))
		n, err := io.ReadFull(text, piece)
		pieces, left = append(pieces, piece[:n]), left-n
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return bytes.Join(pieces, nil), nil
		case err != nil:
			return nil, err
		}
	}
	return nil, fmt.Errorf("it does not end within %s, and no more is read", show.Bytes(maxInput))
}

// textReader reads UTF-8, or UTF-16 with a byte order mark, as UTF-8 without such a mark. Editors and shells
// on Windows write all of them.
func textReader(r *bufio.Reader) (io.Reader, error) {
	mark, _ := r.Peek(4)
	if bytes.Equal(mark, []byte{0xff, 0xfe, 0, 0}) || bytes.Equal(mark, []byte{0, 0, 0xfe, 0xff}) {
		return nil, errors.New("it is UTF-32; save it as UTF-8")
	}
	return transform.NewReader(r, unicode.BOMOverride(encoding.Nop.NewDecoder())), nil
}

// validUTF8 replaces what is not UTF-8 in a text by U+FFFD, as the tokenizer would, so that --echo and --json
// show what the model sees, and warns. It drops a byte order mark, and warns of what looks like UTF-16
// without one.
func validUTF8(name, text string, s *streams) string {
	text = strings.TrimPrefix(text, "\ufeff")
	valid := tokenizer.ValidUTF8(text)
	if valid != text {
		_, _ = show.Fprintf(s.err, "warning: the %s is not valid UTF-8; what is not a character is read as "+
			"U+FFFD\n", name)
	}
	if strings.Count(valid, "\x00") > len(valid)/5 {
		_, _ = show.Fprintf(s.err, "warning: the %s has many NUL characters, as UTF-16 or UTF-32 without a "+
			"byte order mark has; save it as UTF-8\n", name)
	}
	return valid
}

// piped tells whether stdin comes from a pipe or a file, as opposed to a person or nowhere.
func piped(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return true
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// partlyRead tells whether stdin is a file of which somebody has read the beginning: the lines of a shell's
// while loop, which are not for us.
func partlyRead(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return false
	}
	at, err := f.Seek(0, io.SeekCurrent) // a pipe has no offset: an error
	return err == nil && at > 0
}

// withoutLastNewline drops the newline that editors and echo put at the end.
func withoutLastNewline(data []byte) string {
	if rest, ok := bytes.CutSuffix(data, []byte("\r\n")); ok {
		return string(rest)
	}
	return string(bytes.TrimSuffix(data, []byte("\n")))
}
