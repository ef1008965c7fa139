package lineedit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"phi3/internal/regular"
)

// Limits of a history and its file. The oldest entries are dropped.
const (
	maxEntries     = 1000
	maxEntry       = 64 << 10 // bytes; a longer entry is not written to the file
	maxHistoryFile = 4 << 20  // bytes
)

// History is the list of earlier lines, oldest first, which the up key recalls. If it has a file, the next
// run of the program reads it. The file has one JSON string per line, and only its owner may read it.
type History struct {
	entries []string
	file    string // "": none
}

// OpenHistory reads the history from a file, which need not exist. If file is "", the history has none. On an
// error, which says why the file cannot be used, the returned history works without a file.
func OpenHistory(file string) (*History, error) {
	h := &History{}
	if file == "" {
		return h, nil
	}
	data, err := regular.Read(file, maxHistoryFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return h, fmt.Errorf("%s: %w", file, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxHistoryFile)
	n := 0
	for lines.Scan() {
		var entry string
		n++
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry != "" { // a truncated line is skipped
			h.add(entry)
		}
	}
	h.file = file
	if n > maxEntries || len(data) > maxHistoryFile/2 {
		if err := h.rewrite(); err != nil {
			h.file = ""
			return h, err
		}
	}
	return h, nil
}

// Len returns the number of entries.
func (h *History) Len() int { return len(h.entries) }

// At returns entry i. Entry 0 is the oldest.
func (h *History) At(i int) string { return h.entries[i] }

// Add appends an entry, unless it is empty or equal to the last one.
func (h *History) Add(entry string) error {
	if entry == "" || len(h.entries) > 0 && h.entries[len(h.entries)-1] == entry {
		return nil
	}
	h.add(entry)
	if h.file == "" || len(entry) > maxEntry {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(h.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|regular.NoWait, 0o600)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || regular.Check(info.Mode()) != nil {
		return errors.Join(fmt.Errorf("%s: %w", h.file, regular.ErrNotRegular), f.Close())
	}
	_, err = f.Write(encode(entry))
	return errors.Join(err, f.Close())
}

func (h *History) add(entry string) {
	h.entries = append(h.entries, entry)
	if len(h.entries) > maxEntries {
		h.entries = h.entries[len(h.entries)-maxEntries:]
	}
}

// rewrite replaces the file by one with the newest entries, up to a quarter of maxHistoryFile.
func (h *History) rewrite() error {
	var b []byte
	first, size := len(h.entries), 0
	for first > 0 && size < maxHistoryFile/4 {
		first--
		size += len(h.entries[first])
	}
	for _, entry := range h.entries[first:] {
		b = append(b, encode(entry)...)
	}
	f, err := os.CreateTemp(filepath.Dir(h.file), ".history-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), h.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func encode(entry string) []byte {
	line, _ := json.Marshal(entry) // cannot fail for a string
	return append(line, '\n')
}
