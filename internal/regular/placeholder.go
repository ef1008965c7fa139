package regular

import (
	"bytes"
	"errors"
)

const (
	lfsPointer = "version https://git-lfs.github.com/spec/" // what git has in the place of a large file
	isPointer  = "is a Git LFS pointer, not the file itself: run git lfs pull, or phi3 pull ORG/NAME"
	isPage     = "is a web page (HTML), not the file itself: save the file, or run phi3 pull ORG/NAME"
)

// Placeholder recognises what people often have in the place of a model's file, by its beginning, and says
// so; otherwise it is nil.
func Placeholder(text []byte) error {
	if bytes.HasPrefix(text, []byte(lfsPointer)) {
		return errors.New(isPointer)
	}
	start := bytes.ToLower(bytes.TrimLeft(text[:min(len(text), 512)], " \t\r\n"))
	if bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html")) {
		return errors.New(isPage)
	}
	return nil
}
