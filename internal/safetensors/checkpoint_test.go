package safetensors

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

const (
	hasX = `{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}`
	hasY = `{"y":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"spare":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}`
)

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2755488\n"

// sharded is a checkpoint of two shards with the given weight map.
func sharded(weightMap string) fstest.MapFS {
	return fstest.MapFS{
		"1.safetensors": {Data: fileOf(hasX, 4)},
		"2.safetensors": {Data: fileOf(hasY, 9)},
		indexName:       {Data: []byte(`{"metadata":{"total_size":12.0},"weight_map":` + weightMap + `}`)},
	}
}

// repeated is form for every number # below n, and the next one ~, with commas between.
func repeated(n int, form string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = strings.ReplaceAll(strings.ReplaceAll(form, "#", strconv.Itoa(i)), "~", strconv.Itoa(i+1))
	}
	return strings.Join(list, ",")
}

// onDisk copies a file system into a directory, so that the files are mapped.
func onDisk(t *testing.T, fsys fs.FS) fs.FS {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, fsys))
	return os.DirFS(dir)
}

func TestOpenShards(t *testing.T) {
	inMemory := sharded(`{"x":"1.safetensors","y":"2.safetensors"}`)
	for name, fsys := range map[string]fs.FS{"in memory": inMemory, "mapped": onDisk(t, inMemory)} {
		t.Run(name, func(t *testing.T) {
			c, err := Open(fsys)
			require.NoError(t, err)
			require.Equal(t, []string{"x", "y"}, c.Names()) // spare is not in the index
			require.Equal(t, []string{"1.safetensors", "2.safetensors"}, c.Files())
			require.EqualValues(t, 12, c.DataBytes())
			y, ok := c.Tensor("y")
			require.True(t, ok)
			require.Equal(t, &weight.Tensor{
				Name: "y", Format: weight.F32, Shape: []int{2, 1}, Data: make([]byte, 8),
				File: "2.safetensors", Offset: int64(8 + len(hasY)),
			}, y)
			_, ok = c.Tensor("spare")
			require.False(t, ok)
			require.NoError(t, c.Close())
			require.NoError(t, c.Close())
			require.Empty(t, y.Data)
		})
	}
}

func TestSingleFileIsPreferred(t *testing.T) {
	fsys := sharded(`{"x":"1.safetensors"}`)
	fsys[singleName] = &fstest.MapFile{Data: fileOf(hasY, 9)}
	c, err := Open(fsys)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.Equal(t, []string{"spare", "y"}, c.Names())
	require.Equal(t, []string{singleName}, c.Files())
	require.EqualValues(t, 9, c.DataBytes())
}

func TestRejectCheckpoint(t *testing.T) {
	index := func(text string) fstest.MapFS { return fstest.MapFS{indexName: {Data: []byte(text)}} }
	broken := sharded(`{"x":"1.safetensors","y":"2.safetensors"}`)
	broken["2.safetensors"] = &fstest.MapFile{Data: fileOf(hasY, 7)}

	for name, c := range map[string]struct {
		fsys fs.FS
		want []string
	}{
		"tensor not in its shard": {
			sharded(`{"x":"1.safetensors","z":"2.safetensors"}`),
			[]string{`2.safetensors: tensor "z"`, indexName + " says it is here"},
		},
		"tensor in another shard": {sharded(`{"x":"2.safetensors"}`), []string{`2.safetensors: tensor "x"`}},
		"shard missing": {
			sharded(`{"x":"1.safetensors","y":"3.safetensors"}`),
			[]string{indexName, "names the shard 3.safetensors, which is missing"},
		},
		"shard truncated": {
			broken,
			[]string{`2.safetensors: tensor "y": ends at byte 8`, "the file has 7"},
		},
		"slash": {
			sharded(`{"x":"a/1.safetensors"}`),
			[]string{indexName, `tensor "x": file name "a/1.safetensors" leads out`},
		},
		"backslash": {
			sharded(`{"x":"a\\1.safetensors"}`),
			[]string{indexName, `tensor "x"`, "leads out"},
		},
		"dots": {
			sharded(`{"x":"..safetensors"}`),
			[]string{indexName, `tensor "x"`, "leads out"},
		},
		"absolute": {
			sharded(`{"x":"/etc/1.safetensors"}`),
			[]string{indexName, `tensor "x"`, "leads out"},
		},
		"drive": {
			sharded(`{"x":"c:1.safetensors"}`),
			[]string{indexName, `tensor "x"`, "leads out"},
		},
		"pickle": {
			sharded(`{"x":"pytorch_model.bin"}`),
			[]string{indexName, `tensor "x"`, "does not end in .safetensors"},
		},
		"no name": {
			sharded(`{"x":""}`),
			[]string{indexName, `tensor "x"`, "does not end in .safetensors"},
		},
		"name is a number": {
			sharded(`{"x":1}`),
			[]string{indexName, `tensor "x": file name is the number 1, not a string`},
		},
		"tensor twice": {
			sharded(`{"x":"1.safetensors","x":"2.safetensors"}`),
			[]string{indexName, `weight_map: has the key "x" twice`},
		},
		"empty map": {sharded(`{}`), []string{indexName, "has no weight_map, or an empty one"}},
		"no map": {
			index(`{"metadata":{}}`),
			[]string{indexName, "has no weight_map, or an empty one"},
		},
		"map is an array": {
			sharded(`[]`),
			[]string{indexName, "weight_map: is an array, not an object"},
		},
		"index is empty":     {index(``), []string{indexName, "is empty"}},
		"index is cut off":   {index(`{"weight_map":{"x":`), []string{indexName, "not valid JSON"}},
		"index is not UTF-8": {index("{\"\xff\":1}"), []string{indexName, "not valid UTF-8"}},
		"index depth bomb": {
			index(`{"a":` + strings.Repeat("[", deep)),
			[]string{indexName, "is nested too deep: line 1, column 10005"},
		},
		"index is a page": {
			index("<!DOCTYPE html>"),
			[]string{indexName, "is a web page (HTML), not the file itself"},
		},
		"index is a pointer": {
			index(pointer),
			[]string{indexName + ": is a Git LFS pointer, not the file itself: run git lfs pull, or phi3 " +
				"pull ORG/NAME"},
		},
		"shard is a pointer": {
			fstest.MapFS{
				"1.safetensors": {Data: []byte(pointer)},
				indexName:       sharded(`{"x":"1.safetensors"}`)[indexName],
			},
			[]string{"1.safetensors: is a Git LFS pointer, not the file itself"},
		},
		"too many keys": {
			index(`{` + repeated(maxKeys+1, `"#":0`) + `}`),
			[]string{indexName, "has more than 262144 keys"},
		},
		"too many shards": {
			sharded(`{` + repeated(MaxShards+1, `"#":"#.safetensors"`) + `}`),
			[]string{indexName, "names 1025 shards, over the limit of 1024"},
		},
		"index is a directory": {
			fstest.MapFS{indexName + "/x": {}},
			[]string{indexName, "is not a regular file"},
		},
		"model is a directory": {
			fstest.MapFS{singleName + "/x": {}},
			[]string{singleName, "is not a regular file"},
		},

		"nothing": {
			fstest.MapFS{"readme.md": {}},
			[]string{singleName, indexName, "not a Hugging Face checkpoint directory?"},
		},
		"only pickles": {
			fstest.MapFS{"pytorch_model.bin": {}},
			[]string{indexName, "only pytorch_model.bin"},
		},
		"only GGUF": {fstest.MapFS{"phi.Q4_K.gguf": {}}, []string{indexName, "only phi.Q4_K.gguf"}},
		"only an adapter": {
			fstest.MapFS{"adapter_model.safetensors": {}},
			[]string{"LoRA adapter (adapter_model.safetensors)", "merge"},
		},
		"shards but no index": {fstest.MapFS{
			"1.safetensors": {}, "2.safetensors": {}, "3.safetensors": {},
			"4.safetensors": {},
		}, []string{"neither", "only 1.safetensors, 2.safetensors, 3.safetensors, …"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(c.fsys)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestDirectoryMissing(t *testing.T) {
	_, err := Open(os.DirFS(filepath.Join(t.TempDir(), "absent")))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestBrokenLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need privileges there")
	}
	dir := t.TempDir()
	require.NoError(t, os.Symlink("absent", filepath.Join(dir, singleName)))
	_, err := Open(os.DirFS(dir))
	require.ErrorContains(t, err, "model.safetensors is a link to a file that does not exist")
}

// Many names of one file are one file: its header is read once, and its memory is mapped once.
func TestLinkedShards(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "0.safetensors"),
		fileOf(`{`+repeated(MaxShards, `"#":{"dtype":"U8","shape":[1],"data_offsets":[#,~]}`)+`}`, MaxShards),
		0o600))
	for i := 1; i < MaxShards; i++ {
		link, target := os.Symlink, "0.safetensors"
		if i%2 == 0 {
			link, target = os.Link, filepath.Join(dir, target)
		}
		require.NoError(t, link(target, filepath.Join(dir, fmt.Sprint(i)+".safetensors")))
	}
	index := `{"weight_map":{` + repeated(MaxShards, `"#":"#.safetensors"`) + `}}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, indexName), []byte(index), 0o600))
	c, err := Open(os.DirFS(dir))
	require.NoError(t, err)
	require.Equal(t, []string{"0.safetensors"}, c.Files())
	require.EqualValues(t, MaxShards, c.DataBytes())
	require.NoError(t, c.Close())
}
