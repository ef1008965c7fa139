package batch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"phi3/internal/regular"
	"phi3/internal/show"
)

// line is a line of a file.
type line struct {
	number int    // from 1
	start  int64  // the offset of its first byte
	text   []byte // without the newline; valid until the next line
	whole  bool   // a newline ends it
}

// lines reads a file line by line. It skips lines of only white space. Lines have at most limit bytes.
func lines(ctx context.Context, r io.Reader, limit int) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		var text []byte
		next := int64(0) // the offset of the next line
		for l := (line{number: 1}); ; l.number++ {
			text, l.start = text[:0], next
			var err error
			for more := true; more && len(text) <= limit; more = errors.Is(err, bufio.ErrBufferFull) {
				var piece []byte
				piece, err = in.ReadSlice('\n')
				text = append(text, piece...)
			}
			next += int64(len(text))
			l.text, l.whole = bytes.CutSuffix(text, []byte("\n"))
			switch {
			case ctx.Err() != nil:
				err = ctx.Err()
			case len(text) > limit:
				err = fmt.Errorf("is longer than %s", show.Bytes(int64(limit)))
			case err != nil && !errors.Is(err, io.EOF):
				err = regular.Reason(err)
			case len(bytes.TrimSpace(text)) > 0:
				if !yield(l, nil) {
					return
				}
				fallthrough
			default:
				if err != nil { // the end
					return
				}
				continue
			}
			yield(l, err)
			return
		}
	}
}
