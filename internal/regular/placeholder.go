package regular

import "bytes"

const lfsPointer = "version https://git-lfs.github.com/spec/" // what git has in the place of a large file

// PlaceholderError is the error for a file that users often have in the place of a model's file.
type PlaceholderError struct {
	Is     string // what the file is
	Advice string // how to get the model's file
}

func (e *PlaceholderError) Error() string { return e.Is + ", not the file itself: " + e.Advice }

// Placeholder returns a [*PlaceholderError] if text is the beginning of a placeholder, and nil otherwise.
func Placeholder(text []byte) error {
	if bytes.HasPrefix(text, []byte(lfsPointer)) {
		return &PlaceholderError{"is a Git LFS pointer", "run git lfs pull, or phi3 pull ORG/NAME"}
	}
	start := bytes.ToLower(bytes.TrimLeft(text[:min(len(text), 512)], " \t\r\n"))
	if bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html")) {
		return &PlaceholderError{"is a web page (HTML)", "save the file, or run phi3 pull ORG/NAME"}
	}
	return nil
}
