// Package input reads the texts that a user gives: from stdin, from a file, or from a pipe.
//
// Reading ends when the context is done, for example because a user presses Ctrl-C, or because the other end
// of a named pipe never opens. Go cannot stop a read that blocks, so the read continues in a goroutine until
// the process ends.
package input

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"phi3/internal/regular"
	"phi3/internal/show"
)

// MaxText is the length of the longest text that [ReadText] returns, in bytes. It is far longer than any
// context, and takes little memory.
const MaxText = 64 << 20

// Patience is how long [ReadText] waits for the first byte before it reports silence.
const Patience = 5 * time.Second

// ErrSilent is the error of [ReadText] if the source sent nothing and silent did not ask to wait.
var ErrSilent = errors.New("nothing came")

// Until opens a source and reads it until ctx is done; then reading fails with the context's error. It
// starts to read at once and closes the source at its end.
func Until(ctx context.Context, open func() (io.ReadCloser, error)) io.Reader {
	reader, writer := io.Pipe()
	context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) })
	go func() {
		r, err := open()
		if err == nil {
			_, err = io.Copy(writer, r)
			_ = r.Close()
		}
		_ = writer.CloseWithError(err)
	}()
	return reader
}

// ReadText reads a whole text of at most [MaxText] bytes, as [Decode] reads it, until ctx is done. If
// nothing has come after [Patience], it calls silent, and returns [ErrSilent] unless that asks it to wait.
// Errors of the file system have no path: the caller names the source.
func ReadText(
	ctx context.Context, open func() (io.ReadCloser, error), silent func() (wait bool),
) ([]byte, error) {
	raw := bufio.NewReader(Until(ctx, func() (io.ReadCloser, error) { return openSmall(open) }))
	begun := make(chan struct{})
	go func() {
		_, _ = raw.Peek(1) // the error comes again with the first read
		close(begun)
	}()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case <-begun:
	case <-timer.C:
		if !silent() {
			return nil, ErrSilent
		}
		<-begun
	}
	text, err := readAll(raw)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return text, regular.Reason(err)
}

// openSmall opens a source, and refuses a regular file that is too large to be a text.
func openSmall(open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	if f, ok := r.(*os.File); ok {
		// UTF-16 takes up to twice as many bytes as UTF-8.
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 2*MaxText {
			_ = f.Close()
			return nil, fmt.Errorf("it has %s, and at most %s are read", show.Bytes(info.Size()),
				show.Bytes(MaxText))
		}
	}
	return r, nil
}

// readAll reads a text in pieces of 1 MB. A buffer that doubles would copy it, and need twice the memory.
func readAll(r *bufio.Reader) ([]byte, error) {
	text, err := Decode(r)
	if err != nil {
		return nil, err
	}
	var pieces [][]byte
	for left := MaxText + 1; left > 0; {
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
	return nil, fmt.Errorf("it does not end within %s, and no more is read", show.Bytes(MaxText))
}

// Decode returns a reader of UTF-8 without a byte order mark for a text in UTF-8, or in UTF-16 with a byte
// order mark. Editors and shells on Windows write all of these.
func Decode(r io.Reader) (io.Reader, error) {
	raw := bufio.NewReader(r)
	mark, _ := raw.Peek(4)
	if bytes.Equal(mark, []byte{0xff, 0xfe, 0, 0}) || bytes.Equal(mark, []byte{0, 0, 0xfe, 0xff}) {
		return nil, errors.New("it is UTF-32; save it as UTF-8")
	}
	return transform.NewReader(raw, unicode.BOMOverride(encoding.Nop.NewDecoder())), nil
}

// Piped reports whether stdin is a pipe or a file, and not a terminal or /dev/null.
func Piped(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return true
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// PartlyRead reports whether stdin is a file whose beginning another program has read: the lines of a
// shell's while loop, which belong to the loop.
func PartlyRead(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return false
	}
	at, err := f.Seek(0, io.SeekCurrent) // a pipe has no offset: an error
	return err == nil && at > 0
}
