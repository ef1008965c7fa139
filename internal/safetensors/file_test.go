package safetensors

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// fileOf puts a header in front of data bytes of zeros.
func fileOf(header string, data int) []byte {
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(file, header...), make([]byte, data)...)
}

// withLength is an empty header behind a length that may lie.
func withLength(n uint64) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), "{}"...)
}

func source(name string, format weight.Format, shape []int, data []byte) Entry {
	return Entry{name, format, shape, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// TestGolden reads what the Python library wrote, and writes the very same bytes.
func TestGolden(t *testing.T) {
	f, err := ReadFile(os.DirFS("testdata"), "python.safetensors")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.Equal(t, map[string]string{"format": "pt"}, f.Metadata)
	require.Len(t, f.Tensors, 6)
	whole, err := os.ReadFile("testdata/python.safetensors")
	require.NoError(t, err)

	for _, want := range []weight.Tensor{
		{
			Name: "model.norm.weight", Format: weight.BF16, Shape: []int{3},
			Data: []byte{0x80, 0x3f, 0x00, 0xc0, 0x00, 0x3f},
		},
		{Name: "half", Format: weight.F16, Shape: []int{2, 1}, Data: []byte{0x00, 0x3e, 0x00, 0xb4}},
		{
			Name: "scalar", Format: weight.F32, Shape: []int{},
			Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(7)),
		},
		{Name: "empty", Format: weight.BF16, Shape: []int{0, 4}, Data: []byte{}},
		{Name: `naïve <&> "quoted"`, Format: weight.I8, Shape: []int{3}, Data: []byte{1, 2, 3}},
	} {
		want.File = "python.safetensors"
		got, ok := f.Tensor(want.Name)
		require.True(t, ok, want.Name)
		require.True(t, bytes.HasPrefix(whole[got.Offset:], want.Data), want.Name)
		want.Offset = got.Offset
		require.Equal(t, want, *got)
	}
	b, ok := f.Tensor("b")
	require.True(t, ok)
	require.Equal(t, []int{2, 3}, b.Shape)
	require.Equal(t, 6, b.Elems())
	for i := range 6 {
		require.Equal(t, float32(i), math.Float32frombits(binary.LittleEndian.Uint32(b.Data[4*i:])))
	}
	_, ok = f.Tensor("absent")
	require.False(t, ok)

	require.Equal(t, whole, rewrite(t, f))
}

// rewrite writes f's tensors to a new file.
func rewrite(t *testing.T, f *File) []byte {
	t.Helper()
	var sources []Entry
	for i := range f.Tensors {
		x := &f.Tensors[i]
		sources = append(sources, source(x.Name, x.Format, x.Shape, x.Data))
	}
	var out bytes.Buffer
	require.NoError(t, Write(&out, sources, f.Metadata))
	return out.Bytes()
}

const (
	oneF32 = `{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	deep   = 1_000_000
)

// TestReject has one case for each rule of the format; each error names the file, the tensor where there is
// one, and the reason.
func TestReject(t *testing.T) {
	x := `tensor "x"`
	for name, c := range map[string]struct {
		file []byte
		want []string
	}{
		"empty file":           {nil, []string{"has 0 bytes, too few"}},
		"shorter than 8 bytes": {make([]byte, 7), []string{"has 7 bytes, too few"}},
		"header over the limit": {
			withLength(100_000_001),
			[]string{"header length 100000001 is over", "100000000"},
		},
		"header length 2^64-1": {
			withLength(math.MaxUint64),
			[]string{"header length 18446744073709551615 is over"},
		},
		"a pickle": {
			[]byte("PK\x03\x04\x00\x00\x08\x08\x00\x00"),
			[]string{"is a zip archive, as PyTorch saves models"},
		},
		"a GGUF":              {[]byte("GGUF\x03\x00\x00\x00\x10\x00"), []string{"is a GGUF file"}},
		"a page":              {[]byte("\n<!DOCTYPE html>"), []string{"is a web page (HTML)"}},
		"header past the end": {withLength(3), []string{"header of 3 bytes does not fit in a file of 10"}},
		"header of no bytes":  {fileOf("", 0), []string{"does not start with '{'"}},
		"header starts with space": {
			fileOf(" {}", 0), []string{"does not start with '{'"},
		},
		"header is an array":   {fileOf("[]", 0), []string{"does not start with '{'"}},
		"padding is newlines":  {fileOf("{}\n", 0), []string{"does not end with '}' and spaces only"}},
		"padding is zeros":     {fileOf("{}\x00", 0), []string{"does not end with '}' and spaces only"}},
		"two values":           {fileOf("{}{}", 0), []string{"not valid JSON"}},
		"cut-off JSON":         {fileOf(`{"x":{}`, 0), []string{"not valid JSON"}},
		"trailing comma":       {fileOf(`{"x":{},}`, 0), []string{"not valid JSON"}},
		"not UTF-8":            {fileOf("{\"x\xff\":{}}", 0), []string{"not valid UTF-8"}},
		"UTF-8 surrogate half": {fileOf("{\"x\xed\xa0\x80\":{}}", 0), []string{"not valid UTF-8"}},
		"depth bomb": {
			fileOf(`{"x":`+strings.Repeat("[", deep)+strings.Repeat("]", deep)+`}`, 0),
			[]string{"is nested too deep"},
		},
		"depth bomb of objects": {fileOf(`{"x":`+strings.Repeat(`{"a":`, deep)+"1"+strings.Repeat("}", deep)+
			`}`, 0), []string{"is nested too deep"}},
		"metadata null": {
			fileOf(`{"__metadata__":null}`, 0),
			[]string{"__metadata__", "is null, not an object"},
		},
		"metadata with a number": {
			fileOf(`{"__metadata__":{"a":1}}`, 0),
			[]string{"__metadata__", `"a" is the number 1, not a string`},
		},
		"metadata nested": {
			fileOf(`{"__metadata__":{"a":{}}}`, 0),
			[]string{"__metadata__", `"a" is an object, not a string`},
		},
		"metadata key twice": {
			fileOf(`{"__metadata__":{"a":"","a":""}}`, 0),
			[]string{"__metadata__", `key "a" twice`},
		},
		"metadata twice": {
			fileOf(`{"__metadata__":{},"__metadata__":{}}`, 0),
			[]string{`key "__metadata__" twice`},
		},

		"tensor twice": {
			fileOf(oneF32[:len(oneF32)-1]+","+oneF32[1:], 4),
			[]string{`key "x" twice`},
		},
		"tensor twice, escaped": {
			fileOf(oneF32[:len(oneF32)-1]+`,"\u0078":{}}`, 4),
			[]string{`key "x" twice`},
		},
		"field twice": {
			fileOf(`{"x":{"dtype":"F32","dtype":"F32"}}`, 0),
			[]string{x, `key "dtype" twice`},
		},
		"tensor is a string": {
			fileOf(`{"x":"F32"}`, 0),
			[]string{x, `is the string "F32", not an object`},
		},
		"tensor is null": {fileOf(`{"x":null}`, 0), []string{x, `is null, not an object`}},
		"no dtype": {
			fileOf(`{"x":{"shape":[1],"data_offsets":[0,4]}}`, 4),
			[]string{x, "has no dtype"},
		},
		"no shape": {
			fileOf(`{"x":{"dtype":"F32","data_offsets":[0,4]}}`, 4),
			[]string{x, "has no shape"},
		},
		"no offsets": {
			fileOf(`{"x":{"dtype":"F32","shape":[1]}}`, 4),
			[]string{x, "has 0 data_offsets"},
		},
		"field in capitals": {
			fileOf(`{"x":{"DTYPE":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
			[]string{x, "has no dtype"},
		},
		"one offset": {
			fileOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}}`, 4),
			[]string{x, "has 1 data_offsets"},
		},
		"three offsets": {
			fileOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4),
			[]string{x, "data_offsets has more than 2 entries"},
		},
		"dtype not a string": {
			fileOf(`{"x":{"dtype":4,"shape":[1],"data_offsets":[0,4]}}`, 4),
			[]string{x, "dtype is the number 4, not a string"},
		},
		"unknown dtype": {
			fileOf(`{"x":{"dtype":"Q4_K","shape":[1],"data_offsets":[0,4]}}`, 4),
			[]string{x, `unknown dtype "Q4_K"`},
		},
		"dtype in small letters": {
			fileOf(`{"x":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}`, 4), []string{
				x,
				`unknown dtype "f32"`,
			},
		},
		"shape not an array": {
			fileOf(`{"x":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}`, 4),
			[]string{x, "shape is the number 1, not an array"},
		},
		"shape null": {
			fileOf(`{"x":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4),
			[]string{x, "shape is null, not an array"},
		},
		"shape of strings": {
			fileOf(`{"x":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}`, 4),
			[]string{x, `shape holds the string "1" where a number`},
		},
		"negative dimension": {
			fileOf(`{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4),
			[]string{x, "shape holds -1, which is not an integer"},
		},
		"fractional dimension": {
			fileOf(`{"x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}`, 4),
			[]string{x, "shape holds 1.0, which is not an integer"},
		},
		"exponent": {
			fileOf(`{"x":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}`, 4),
			[]string{x, "shape holds 1e0, which is not an integer"},
		},
		"dimension 2^64": {fileOf(`{"x":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}}`,
			4), []string{x, "not an integer from 0 to 2^64-1"}},
		"dimension 2^63": {fileOf(`{"x":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}`,
			4), []string{x, "shape has the dimension 9223372036854775808"}},
		"65 dimensions": {
			fileOf(`{"x":{"dtype":"F32","shape":[1`+strings.Repeat(",1", 64)+`],"data_offsets":[0,4]}}`,
				4), []string{x, "shape has more than 64 entries"},
		},
		"elements overflow": {
			fileOf(`{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}`,
				4), []string{x, "too many elements to count"},
		},
		"elements overflow before a zero": {
			fileOf(`{"x":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`,
				0), []string{x, "too many elements to count"},
		},
		"negative offset": {
			fileOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4),
			[]string{x, "data_offsets holds -4, which is not an integer"},
		},
		"offsets backwards": {
			fileOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4),
			[]string{x, "end before they begin"},
		},
		"hole at the start": {
			fileOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8),
			[]string{x, "leave a hole"},
		},
		"hole between": {
			fileOf(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12),
			[]string{x, "leave a hole: the bytes before end at 4"},
		},
		"overlap": {
			fileOf(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[2,6]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 6),
			[]string{x, "overlap the tensor before, which ends at 4"},
		},
		"the same bytes twice": {
			fileOf(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
			[]string{x, "overlap the tensor before"},
		},
		"too few bytes for the shape": {
			fileOf(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4),
			[]string{x, "F32 of shape [2] needs 8 bytes", "hold 4"},
		},
		"too many bytes for the shape": {
			fileOf(`{"x":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}}`, 4),
			[]string{x, "F16 of shape [1] needs 2 bytes", "hold 4"},
		},
		"bytes for an empty shape": {
			fileOf(`{"x":{"dtype":"F16","shape":[0],"data_offsets":[0,4]}}`, 4),
			[]string{x, "F16 of shape [0] needs 0 bytes"},
		},
		"half a byte": {
			fileOf(`{"x":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 2),
			[]string{x, "takes 12 bits, not a whole number of bytes"},
		},
		"six-bit tail": {fileOf(`{"x":{"dtype":"F6_E2M3","shape":[2],"data_offsets":[0,2]}}`,
			2), []string{x, "takes 12 bits, not a whole number of bytes"}},
		"truncated": {
			fileOf(oneF32, 3),
			[]string{x, "ends at byte 4 of the data, but the file has 3", "is the download complete?"},
		},
		"offsets near 2^64": {
			fileOf(`{"x":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, 3), []string{x, "too many bits to count"},
		},
		"trailing bytes":           {fileOf(oneF32, 5), []string{"has 1 bytes after the last tensor"}},
		"bytes without any tensor": {fileOf("{}", 1), []string{"has 1 bytes after the last tensor"}},
	} {
		t.Run(name, func(t *testing.T) {
			if strconv.IntSize == 32 && name == "offsets near 2^64" {
				t.Skip("reported as a dimension over the machine's limit")
			}
			_, err := ReadFile(fstest.MapFS{"bad.safetensors": {Data: c.file}}, "bad.safetensors")
			require.Error(t, err)
			require.Regexp(t, `^bad\.safetensors: `, err.Error())
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.Less(t, len(err.Error()), 500)
		})
	}
}

// TestAccept has the odd forms that the format allows.
func TestAccept(t *testing.T) {
	for name, file := range map[string][]byte{
		"nothing": fileOf("{}", 0),
		"padding": fileOf("{}      ", 0),
		"white space inside": fileOf("{\n\t\"x\" : {\"dtype\":\"U8\",\r\"shape\":[ 1 "+
			"],\"data_offsets\":[0,1]} }", 1),
		"empty metadata": fileOf(`{"__metadata__":{}}`, 0),
		"unknown field": fileOf(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":{"a":[1,{}]}}}`,
			1),
		"scalar": fileOf(`{"x":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`, 8),
		"header out of order": fileOf(
			`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2),
		"empty tensors at one place": fileOf(
			`{"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"F4","shape":[0],"data_offsets":[1,1]}}`, 1),
		"zero before a huge dimension": fileOf(`{"x":{"dtype":"U8","shape":[0,2147483647],"data_offsets":[0,0]}}`, 0),
		"sub-byte": fileOf(`{"x":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]}}`,
			3),
		"empty name": fileOf(`{"":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			f, err := parse("f", file)
			require.NoError(t, err)
			for i := range f.Tensors {
				require.Equal(t, len(f.Tensors[i].Data)*8, f.Tensors[i].Elems()*f.Tensors[i].Format.Bits())
			}
		})
	}
}

// TestMapped opens a sparse file far larger than a test should read, and a truncated one.
func TestMapped(t *testing.T) {
	dir := t.TempDir()
	header := `{"x":{"dtype":"BF16","shape":[1073741824],"data_offsets":[0,2147483648]}}`
	if strconv.IntSize == 32 {
		t.Skip("a file of 2 GiB does not fit in the address space")
	}
	name := filepath.Join(dir, "model.safetensors")
	require.NoError(t, os.WriteFile(name, fileOf(header, 0), 0o600))
	size := int64(8+len(header)) + 1<<31
	require.NoError(t, os.Truncate(name, size)) // a hole: no disk is used

	f, err := ReadFile(os.DirFS(dir), "model.safetensors")
	require.NoError(t, err)
	x, ok := f.Tensor("x")
	require.True(t, ok)
	require.Equal(t, 1<<30, x.Elems())
	require.EqualValues(t, int64(1<<31), len(x.Data))
	require.Zero(t, x.Data[len(x.Data)-1])
	require.NoError(t, f.Close())
	require.Empty(t, x.Data)
	require.NoError(t, f.Close())

	require.NoError(t, os.Truncate(name, size-1))
	_, err = ReadFile(os.DirFS(dir), "model.safetensors")
	require.ErrorContains(t, err, `model.safetensors: tensor "x": ends at byte 2147483648 of the data, but the file has 2147483647`)
	require.NoError(t, os.Truncate(name, 0))
	_, err = ReadFile(os.DirFS(dir), "model.safetensors")
	require.ErrorContains(t, err, "has 0 bytes")
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	_, err := ReadFile(os.DirFS(dir), "d")
	require.EqualError(t, err, "d: is not a regular file but a directory")
	_, err = ReadFile(os.DirFS(dir), "absent")
	require.EqualError(t, err, "absent: no such file or directory")
}
