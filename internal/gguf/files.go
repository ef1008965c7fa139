package gguf

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"
)

// files is the content of the files that are made from the metadata. The tokenizer's are made when one of
// them is opened, because a vocabulary of 200,000 tokens takes a while.
type files struct {
	config    map[string][]byte
	tokenizer func() (map[string][]byte, error)
}

// makeView makes config.json and generation_config.json, and prepares the tokenizer's files.
func (c *Checkpoint) makeView() error {
	config, err := c.configFiles()
	if err != nil {
		return err
	}
	meta := &c.Meta
	c.view = files{config, sync.OnceValues(func() (map[string][]byte, error) { return tokenizerFiles(meta) })}
	return nil
}

// Open opens a file that is made from the metadata. It makes a Checkpoint an [fs.FS].
func (c *Checkpoint) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if data, ok := c.view.config[name]; ok {
		return &memoryFile{name: name, Reader: bytes.NewReader(data)}, nil
	}
	made, err := c.view.tokenizer()
	if err != nil {
		return nil, err
	}
	if data, ok := made[name]; ok {
		return &memoryFile{name: name, Reader: bytes.NewReader(data)}, nil
	}
	if name == "." {
		names := slices.Concat(slices.Collect(maps.Keys(c.view.config)), slices.Collect(maps.Keys(made)))
		slices.Sort(names)
		return &memoryDirectory{names: names, open: c.Open}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// memoryFile is an open file. It is its own [fs.FileInfo].
type memoryFile struct {
	*bytes.Reader
	name string
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *memoryFile) Close() error               { return nil }
func (f *memoryFile) Name() string               { return f.name }
func (f *memoryFile) Size() int64                { return f.Reader.Size() }
func (f *memoryFile) Mode() fs.FileMode          { return 0o444 }
func (f *memoryFile) ModTime() time.Time         { return time.Time{} }
func (f *memoryFile) IsDir() bool                { return false }
func (f *memoryFile) Sys() any                   { return nil }

// memoryDirectory is the open root. It is its own [fs.FileInfo].
type memoryDirectory struct {
	names []string // that ReadDir has not returned yet
	open  func(string) (fs.File, error)
}

func (d *memoryDirectory) Stat() (fs.FileInfo, error) { return d, nil }
func (d *memoryDirectory) Read([]byte) (int, error)   { return 0, io.EOF }
func (d *memoryDirectory) Close() error               { return nil }
func (d *memoryDirectory) Name() string               { return "." }
func (d *memoryDirectory) Size() int64                { return 0 }
func (d *memoryDirectory) Mode() fs.FileMode          { return fs.ModeDir | 0o555 }
func (d *memoryDirectory) ModTime() time.Time         { return time.Time{} }
func (d *memoryDirectory) IsDir() bool                { return true }
func (d *memoryDirectory) Sys() any                   { return nil }

func (d *memoryDirectory) ReadDir(n int) (entries []fs.DirEntry, err error) {
	if n > 0 && len(d.names) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.names) {
		n = len(d.names)
	}
	for _, name := range d.names[:n] {
		f, err := d.open(name)
		if err != nil {
			return entries, err
		}
		info, err := f.Stat()
		if err != nil {
			return entries, err
		}
		entries = append(entries, fs.FileInfoToDirEntry(info))
	}
	d.names = d.names[n:]
	return entries, nil
}
