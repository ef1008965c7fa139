package randomckpt

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"io"
	"math"
	"runtime"

	"github.com/x448/float16"

	"phi3/internal/weight"
)

// chunkElems is the number of elements that a goroutine makes at a time: 2 MB of bf16. It must be a multiple
// of 4, because four elements share one random number.
const chunkElems = 1 << 20

// A table has 65536 equally probable values of a distribution, in the checkpoint's type, in the low bits of
// each entry. 16 random bits are an index into it.
type table [1 << 16]uint32

// newTable makes the table of a distribution from its quantile function, at the middles of 65536 equal parts
// of (0, 1).
func newTable(quantile func(p float64) float64, dtype weight.Format) *table {
	t := new(table)
	for i := range t {
		x := float32(quantile((float64(i) + 0.5) / float64(len(t))))
		switch dtype {
		case weight.F32:
			t[i] = math.Float32bits(x)
		case weight.F16:
			t[i] = uint32(float16.Fromfloat32(x).Bits())
		default:
			t[i] = uint32(weight.ToBF16(x))
		}
	}
	return t
}

func normal(p float64) float64 { return 0.02 * math.Sqrt2 * math.Erfinv(2*p-1) } // N(0, 0.02²), out to 4.3 σ

func nearOne(p float64) float64 { return 0.9 + 0.2*p } // uniform in 1 ± 0.1

// tensorKey returns the start of a tensor's own sequence of random numbers.
func tensorKey(seed uint64, name string) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name)) // never fails
	return mix(mix(seed) ^ hash.Sum64())
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014): every output bit depends on every input bit.
// The sequence mix(key + i·golden) is that generator. Any element of it can be computed directly, so
// chunks do not depend on each other.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

const golden = 0x9e3779b97f4a7c15

// fill writes elements of a tensor to dst, beginning with element first, a multiple of 4. An element has
// width 2 or 4 bytes.
func (t *table) fill(dst []byte, width int, key, first uint64) {
	state := key + first/4*golden
	for len(dst) >= 4*width {
		r := mix(state)
		state += golden
		a, b, c, d := t[r&0xffff], t[r>>16&0xffff], t[r>>32&0xffff], t[r>>48]
		if width == 2 {
			binary.LittleEndian.PutUint64(dst, uint64(a)|uint64(b)<<16|uint64(c)<<32|uint64(d)<<48)
		} else {
			binary.LittleEndian.PutUint64(dst, uint64(a)|uint64(b)<<32)
			binary.LittleEndian.PutUint64(dst[8:], uint64(c)|uint64(d)<<32)
		}
		dst = dst[4*width:]
	}
	if len(dst) > 0 {
		var last [16]byte
		t.fill(last[:4*width], width, state, 0)
		copy(dst, last[:])
	}
}

// writeTensor writes elems elements of the tensor with that key. All cores make chunks in advance, and w
// receives them in order.
func (t *table) writeTensor(ctx context.Context, w io.Writer, elems int64, width int, key uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The channel's capacity bounds how many chunks are made ahead.
	chunks := make(chan chan []byte, runtime.GOMAXPROCS(0))
	go func() {
		defer close(chunks)
		for first := int64(0); first < elems; first += chunkElems {
			chunk := make(chan []byte, 1)
			select {
			case chunks <- chunk:
			case <-ctx.Done():
				return
			}
			go func() {
				buf := make([]byte, min(chunkElems, elems-first)*int64(width))
				t.fill(buf, width, key, uint64(first))
				chunk <- buf
			}()
		}
	}()
	for chunk := range chunks {
		if _, err := w.Write(<-chunk); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}
