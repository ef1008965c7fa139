package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"slices"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/weight"
)

const (
	lengthBytes    = 8           // the header's length N, before the header
	maxHeaderBytes = 100_000_000 // the reference implementation's limit; real headers have 20 to 50 KB
	// PyTorch's limit; without one, a header of 100 MB of zeros would ask for 400 MB of shape
	maxRank     = 64
	metadataKey = "__metadata__"
)

// File is one open safetensors file.
type File struct {
	Name     string
	Metadata map[string]string // the header's __metadata__; Hugging Face writes {"format": "pt"}
	Tensors  []weight.Tensor   // in the order of their bytes
	unmap    func() error
}

// ReadFile opens the file name of fsys, maps it (see the package comment) and checks its header by every
// rule of the format. The caller must Close it. A mapped file may shrink while it is open: see
// [weight.Guard].
func ReadFile(fsys fs.FS, name string) (*File, error) {
	opened, _, err := regular.OpenFS(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = opened.Close() }() // the mapping outlives it; nothing was written
	return readFile(opened, name)
}

// readFile is ReadFile for an open file. The caller closes the file.
func readFile(opened fs.File, name string) (*File, error) {
	data, unmap, err := regular.Map(opened)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f, err := parseMapped(name, data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), unmap())
	}
	f.unmap = unmap
	return f, nil
}

// parseMapped is parse for a file that may shrink while it is read.
func parseMapped(name string, data []byte) (f *File, err error) {
	err = weight.GuardHeader(func() (err error) {
		f, err = parse(name, data)
		return err
	})
	return f, err
}

// Tensor returns the tensor of that name, and whether there is one.
func (f *File) Tensor(name string) (*weight.Tensor, bool) {
	for i := range f.Tensors {
		if f.Tensors[i].Name == name {
			return &f.Tensors[i], true
		}
	}
	return nil, false
}

// Close unmaps the file and empties the Data of every tensor. It may be called twice.
func (f *File) Close() error {
	if f.unmap == nil {
		return nil
	}
	for i := range f.Tensors {
		f.Tensors[i].Data = nil // a later use finds an empty slice and does not fault
	}
	unmap := f.unmap
	f.unmap = nil
	return unmap()
}

// extent is a tensor as the header describes it. Its bytes are data[begin:end].
type extent struct {
	weight.Tensor
	begin, end uint64
}

// parse checks the bytes of a whole file and divides them into tensors. It reads only the header.
func parse(file string, data []byte) (*File, error) {
	if err := regular.Placeholder(data); err != nil {
		return nil, err
	}
	if len(data) < lengthBytes {
		return nil, fmt.Errorf("has %d bytes, too few to hold a safetensors header: is the download "+
			"complete?", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeaderBytes {
		switch {
		case bytes.HasPrefix(data, []byte("PK\x03\x04")):
			return nil, errors.New("is a zip archive, as PyTorch saves models, and not a safetensors " +
				"file: save the model with safe_serialization=True")
		case bytes.HasPrefix(data, []byte("GGUF")):
			return nil, errors.New("is a GGUF file and not a safetensors file: give it a name that ends " +
				"in .gguf")
		}
		return nil, fmt.Errorf("header length %d is over the format's limit of %d: not a safetensors file?",
			n, maxHeaderBytes)
	}
	if n > uint64(len(data)-lengthBytes) {
		return nil, fmt.Errorf("header of %d bytes does not fit in a file of %d: is the download complete?",
			n, len(data))
	}
	header, data := data[lengthBytes:lengthBytes+n], data[lengthBytes+n:]

	extents, metadata, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(extents, func(a, b extent) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	f := &File{Name: file, Metadata: metadata, Tensors: make([]weight.Tensor, len(extents))}
	var end uint64 // of the tensor before
	for i, x := range extents {
		if err := x.check(end, uint64(len(data))); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", show.Brief(x.Name), err)
		}
		end = x.end
		x.Data = data[x.begin:x.end:x.end]
		x.File, x.Offset = file, int64(lengthBytes+n+x.begin)
		f.Tensors[i] = x.Tensor
	}
	if end != uint64(len(data)) {
		return nil, fmt.Errorf("has %d bytes after the last tensor", uint64(len(data))-end)
	}
	return f, nil
}

// check compares the description of a tensor with the end of the tensor before it and with the number of
// bytes in the file.
func (x *extent) check(previousEnd, available uint64) error {
	switch {
	case x.end < x.begin:
		return fmt.Errorf("data_offsets [%d, %d] end before they begin", x.begin, x.end)
	case x.begin > previousEnd:
		return fmt.Errorf("data_offsets [%d, %d] leave a hole: the bytes before end at %d",
			x.begin, x.end, previousEnd)
	case x.begin < previousEnd:
		return fmt.Errorf("data_offsets [%d, %d] overlap the tensor before, which ends at %d",
			x.begin, x.end, previousEnd)
	}
	size, err := sizeInBytes(x.Format, x.Shape)
	if err != nil {
		return err
	}
	if size != x.end-x.begin {
		return fmt.Errorf("%s of shape %v needs %d bytes, but data_offsets [%d, %d] hold %d",
			x.Format, x.Shape, size, x.begin, x.end, x.end-x.begin)
	}
	if x.end > available {
		return fmt.Errorf("ends at byte %d of the data, but the file has %d: is the download complete?",
			x.end, available)
	}
	return nil
}

// sizeInBytes returns the bytes that a tensor takes. It returns an error if the number of elements does
// not fit an int, if the number of bits does not fit a uint64, or if numbers of less than a byte do not
// fill the last byte.
func sizeInBytes(format weight.Format, shape []int) (uint64, error) {
	if format.Bits() == 0 {
		return 0, errors.New("its format is not given")
	}
	elems := uint64(1)
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		over, product := bits.Mul64(elems, uint64(dim))
		if over != 0 || product > math.MaxInt {
			return 0, fmt.Errorf("shape %v has too many elements to count", shape)
		}
		elems = product
	}
	over, size := bits.Mul64(elems, uint64(format.Bits()))
	if over != 0 {
		return 0, fmt.Errorf("%s of shape %v has too many bits to count", format, shape)
	}
	if size%8 != 0 {
		return 0, fmt.Errorf("%s of shape %v takes %d bits, not a whole number of bytes", format, shape, size)
	}
	return size / 8, nil
}

// parseHeader reads the JSON in the file's order. It does not check the tensors against each other: parse
// does.
func parseHeader(header []byte) (extents []extent, metadata map[string]string, err error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("header does not start with '{': not a safetensors file?")
	}
	text := bytes.TrimRight(header, " ")
	if text[len(text)-1] != '}' {
		return nil, nil, errors.New("header does not end with '}' and spaces only")
	}
	r, err := newJSONReader(text)
	if err != nil {
		return nil, nil, fmt.Errorf("header %w", err)
	}
	err = r.object(func(name string) error {
		if name == metadataKey {
			metadata, err = readMetadata(r)
			return err
		}
		x, err := readExtent(r)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", show.Brief(name), err)
		}
		x.Name = name
		extents = append(extents, x)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	return extents, metadata, nil
}

func readMetadata(r jsonReader) (map[string]string, error) {
	metadata := map[string]string{}
	err := r.object(func(key string) error {
		value, err := r.str()
		if err != nil {
			return fmt.Errorf("%q %w", show.Brief(key), err)
		}
		metadata[key] = value
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", metadataKey, err)
	}
	return metadata, nil
}

// readExtent reads {"dtype": …, "shape": …, "data_offsets": …}. It skips unknown fields, as the reference
// implementation does.
func readExtent(r jsonReader) (extent, error) {
	var x extent
	var offsets []uint64
	err := r.object(func(key string) (err error) {
		switch key {
		case "dtype":
			var s string
			var ok bool
			s, err = r.str()
			x.Format, ok = weight.ParseFormat(s)
			if err == nil && s != "" && (!ok || x.Format.Quantized()) {
				return fmt.Errorf("unknown dtype %q", show.Brief(s))
			}
		case "shape":
			x.Shape, err = readShape(r)
		case "data_offsets":
			offsets, err = r.uints(2)
		default:
			r.Skip()
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s %w", key, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return x, err
	case x.Format == 0:
		return x, errors.New("has no dtype")
	case x.Shape == nil:
		return x, errors.New("has no shape")
	case len(offsets) != 2:
		return x, fmt.Errorf("has %d data_offsets, not 2", len(offsets))
	}
	x.begin, x.end = offsets[0], offsets[1]
	return x, nil
}

func readShape(r jsonReader) ([]int, error) {
	dims, err := r.uints(maxRank)
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(dims))
	for i, dim := range dims {
		if dim > math.MaxInt {
			return nil, fmt.Errorf("has the dimension %d, over this machine's limit of %d", dim, math.MaxInt)
		}
		shape[i] = int(dim)
	}
	return shape, nil
}
