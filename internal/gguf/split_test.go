package gguf

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/regular"
	"phi3/internal/weight"
)

// split writes tiny as n parts, as llama.cpp's gguf-split does: the first part has all metadata.
func split(t *testing.T, n int) map[string][]byte {
	t.Helper()
	metadata, tensors := tiny()
	files := map[string][]byte{}
	for i := range n {
		kvs := []KV{
			{splitNoKey, uint16(i)}, {splitCountKey, uint16(n)}, {splitTensorsKey, int32(len(tensors))},
		}
		if i == 0 {
			kvs = append(metadata, kvs...)
		}
		part := tensors[i*len(tensors)/n : (i+1)*len(tensors)/n]
		files[fmt.Sprintf("m-%05d-of-%05d.gguf", i+1, n)] = written(t, kvs, part)
	}
	return files
}

// Any part of a split model opens all of it.
func TestSplit(t *testing.T) {
	metadata, tensors := tiny()
	whole, err := open(t, map[string][]byte{"m.gguf": written(t, metadata, tensors)}, "m.gguf")
	require.NoError(t, err)
	want := whole.Weights()
	for _, n := range []int{1, 2, 3, len(tensors)} {
		files := split(t, n)
		require.Len(t, files, n)
		for name := range files {
			c, err := open(t, files, name)
			require.NoError(t, err)
			w := c.Weights()
			require.Equal(t, want.Names(), w.Names())
			require.Len(t, w.Files(), n)
			for _, name := range w.Names() {
				a, _ := want.Tensor(name)
				b, _ := w.Tensor(name)
				require.Equal(t, a.Data, b.Data)
				require.Contains(t, files, b.File)
			}
			require.NoError(t, c.Close())
			require.NoError(t, w.Close())
		}
	}
}

// A part that is missing, or belongs to another model, is named.
func TestSplitErrors(t *testing.T) {
	const first, second, third = "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"
	metadata, tensors := tiny()
	whole := written(t, metadata, tensors)
	for name, test := range map[string]struct {
		change func(files map[string][]byte)
		open   string
		want   string
	}{
		"second missing": {
			func(f map[string][]byte) { delete(f, second) }, third,
			second + ": this part of the model is missing; a split model needs all its parts",
		},
		"first missing": {
			func(f map[string][]byte) { delete(f, first) }, third, first + ": this part of the model is",
		},
		"none there": {func(f map[string][]byte) { clear(f) }, third, first + ": this part of the model is"},
		"swapped": {
			func(f map[string][]byte) { f[second], f[third] = f[third], f[second] }, first,
			second + ": key split.no is 2, but the file has the name of part 2 of 3 (1 expected)",
		},
		"of another split": {
			func(f map[string][]byte) { f[first] = split(t, 2)["m-00001-of-00002.gguf"] }, first,
			first + ": key split.count is 2, but the file has the name of part 1 of 3 (3 expected)",
		},
		"a whole model among parts": {
			func(f map[string][]byte) { f[first] = whole }, second,
			first + ": is a whole model, so " + second + " is not a part of it",
		},
		"a part without a number": {
			func(f map[string][]byte) { f["m.gguf"] = f[second] }, "m.gguf",
			"m.gguf: is a part of a model of 3 parts, whose names must end in -00001-of-00003.gguf and so on",
		},
		"a part twice": {
			func(f map[string][]byte) {
				f[second] = written(t, []KV{
					{splitNoKey, uint16(1)}, {splitCountKey, uint16(3)},
				}, tensors[:1])
			}, first, second + ": tensor token_embd.weight is in " + first + " too",
		},
		"a tensor missing": {
			func(f map[string][]byte) {
				f[third] = written(t, []KV{{splitNoKey, uint16(2)}, {splitCountKey, uint16(3)}}, nil)
			}, first, first + ": key split.tensors.count is 15, but the parts have 10 tensors",
		},
		"a damaged part": {
			func(f map[string][]byte) { f[third] = f[third][:len(f[third])-32] }, first,
			third + ": tensor blk.1.ffn_down.weight takes",
		},
	} {
		files := split(t, 3)
		test.change(files)
		_, err := open(t, files, test.open)
		require.ErrorContains(t, err, test.want, name)
	}
	for _, name := range []string{
		"m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-00001-of-99999.gguf", "m-1-of-3.gguf", "m.gguf",
	} {
		require.Equal(t, []string{name}, Parts(name))
	}
	require.Equal(t, "dir/m-00002-of-00003.gguf", Parts("dir/m-00001-of-00003.gguf")[1])
}

// A file of the operating system is mapped. If it becomes shorter, a read gives the error of a safetensors
// file.
func TestShrunk(t *testing.T) {
	dir := t.TempDir()
	metadata, _ := tiny()
	path := filepath.Join(dir, "a.gguf")
	big := []Entry{entry("token_embd.weight", weight.F32, 0, 1<<16, 32)}
	require.NoError(t, WriteFile(path, metadata, big))
	fsys := os.DirFS(dir)
	c, err := Open(fsys, "a.gguf")
	require.NoError(t, err)
	w := c.Weights()
	require.NoError(t, c.Close())
	table, ok := w.Tensor("model.embed_tokens.weight")
	require.True(t, ok)
	read := func() (sum int) {
		for _, b := range table.Data {
			sum += int(b)
		}
		return sum
	}
	require.NotZero(t, read())
	require.NoError(t, os.Truncate(path, 1<<16))
	err = weight.Guard([]*weight.Tensor{table}, func() error { read(); return nil })
	require.ErrorIs(t, err, weight.ErrUnreadable)
	require.ErrorContains(t, err, `a.gguf: tensor "model.embed_tokens.weight": byte 65536 of the file can no`)
	require.NoError(t, w.Close())

	// So does its header.
	require.NoError(t, WriteFile(path, metadata, big))
	f, err := os.Open(path)
	require.NoError(t, err)
	data, unmap, err := regular.Map(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Truncate(path, 0))
	err = weight.GuardHeader(func() error {
		_, err := parse("a.gguf", data)
		return err
	})
	require.ErrorIs(t, err, weight.ErrUnreadable)
	require.ErrorContains(t, err, "its header can no longer be read")
	require.NoError(t, unmap())
}

// A name that leads out of the directory is refused by the file system, and a directory is not a file.
func TestNotAFile(t *testing.T) {
	_, err := Open(fstest.MapFS{"d.gguf/x": {}}, "d.gguf")
	require.ErrorContains(t, err, "d.gguf: is not a regular file but a directory")
	_, err = Open(fstest.MapFS{}, "a.gguf")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
