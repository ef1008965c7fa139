package hubtest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// offset returns the first byte of a request's Range.
func offset(r *http.Request) int {
	from, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	n, _ := strconv.Atoi(from)
	return n
}

// begin writes the header of a correct answer and returns the correct body.
func begin(w http.ResponseWriter, r *http.Request, content []byte) []byte {
	from := min(offset(r), len(content))
	w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		w.WriteHeader(http.StatusPartialContent)
	}
	return content[from:]
}

// Cut breaks the connection after n bytes of the body.
func Cut(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		body := begin(w, r, content)
		_, _ = w.Write(body[:min(n, len(body))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// Hang sends n bytes of the body and then waits until the client closes the connection.
func Hang(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		body := begin(w, r, content)
		if len(body) == 0 {
			w.Header().Set("Content-Length", "1")
		}
		_, _ = w.Write(body[:min(n, len(body))])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}
}

// Wrong sends a body of the right length with one bit changed.
func Wrong() Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		body := append([]byte(nil), begin(w, r, content)...)
		body[len(body)/2] ^= 1
		_, _ = w.Write(body)
		return true
	}
}

// Whole ignores Range and sends the whole file.
func Whole() Fault {
	return func(w http.ResponseWriter, _ *http.Request, content []byte) bool {
		_, _ = w.Write(content)
		return true
	}
}

// Status answers with a status and with header fields, each given as "Name: value".
func Status(status int, fields ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		return true
	}
}

// Body answers with the given body.
func Body(text string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		_, _ = w.Write([]byte(text))
		return true
	}
}
