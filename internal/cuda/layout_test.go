package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"phi3/internal/weight"
	"phi3/kernels"
)

// The table of layouts in Go is that of the kernels.
func TestLayoutsAreTheKernels(t *testing.T) {
	text, err := kernels.Sources.ReadFile("quants_layout.h")
	require.NoError(t, err)
	rows := regexp.MustCompile(`LAYOUT\((I?Q\w+), (\d+), (\d+), (\d+), (\d+), (\d+), (\d+)\)`).
		FindAllStringSubmatch(string(text), -1)
	seen := 0
	for _, row := range rows {
		f, ok := weight.ParseFormat(row[1])
		require.True(t, ok, row[1])
		var n [5]int // bits, low, high, scales, tail
		for i, at := range []int{2, 4, 5, 6, 7} {
			n[i], err = strconv.Atoi(row[at])
			require.NoError(t, err)
		}
		l := quantLayouts[f]
		require.Equal(t, n[0], l.low+l.high, f)
		require.Equal(t, n[1], l.highAt(), f)
		require.Equal(t, n[1]+n[2], l.scalesAt(), f)
		require.Equal(t, n[1]+n[2]+n[3], l.stepBytes(), f)
		require.Equal(t, n[4], l.tail, f)
		require.Zero(t, l.stepBytes()%16, f)
		require.Zero(t, l.tail%16, f)
		seen++
	}
	require.Len(t, layoutFormats(), seen)
}

// layoutFormats are all quantized formats.
func layoutFormats() (formats []weight.Format) {
	for f := range quantLayouts {
		if quantLayouts[f].low > 0 {
			formats = append(formats, weight.Format(f))
		}
	}
	return formats
}

// packedReader reads weights of the layout one by one, as quants_layout.h describes it.
type packedReader struct {
	quantLayout
	format  weight.Format
	data    []byte
	rows, k int
}

func (r *packedReader) word(at int) uint32     { return load32(r.data[at:]) }
func (r *packedReader) half(at int) float32    { return float16.Frombits(load16(r.data[at:])).Float32() }
func (r *packedReader) signed(at int) float32  { return float32(int(r.data[at]) - 128) }
func (r *packedReader) integer(at int) float32 { return float32(r.data[at]) }

// q is the integer of a weight.
func (r *packedReader) q(step, row, col int) int {
	p, t, e := col%stepCols/8, col%8/2, col%2
	w, i := p/4, p%4
	s, bit, lane := 2*w+i%2, 8*(i/2+2*e), 4*row+t
	var q uint32
	switch r.low {
	case 8:
		q = r.word(step+16*lane+4*s) >> bit & 0xff
	case 4:
		q = r.word(step+8*lane+4*w) >> (bit + 4*(s%2)) & 15
	case 2:
		q = r.word(step+4*lane) >> (bit + 2*s) & 3
	}
	switch r.high {
	case 1:
		q |= r.word(step+r.highAt()+8*row+4*(t/2)) >> (bit + s + 4*(t%2)) & 1 << r.low
	case 2:
		q |= r.word(step+r.highAt()+4*lane) >> (bit + 2*s) & 3 << r.low
	}
	return int(q)
}

// at is a weight, not rounded yet.
func (r *packedReader) at(row, col int) float32 {
	group, g := row/8*r.groupBytes(r.k), row%8
	step, tail := group+col/64*r.stepBytes(), group+(r.k+127)/128*2*r.stepBytes()+col/256*r.tail
	scales := step + r.scalesAt()
	group32, group16 := 2*g+col%64/32, 4*g+col%64/16
	zero, scale, minimum := 0, float32(0), float32(0)
	switch f := r.format; f {
	case weight.Q4_0, weight.Q5_0, weight.Q8_0, weight.IQ4_NL:
		zero = map[weight.Format]int{weight.Q4_0: 8, weight.Q5_0: 16, weight.Q8_0: 128}[f]
		scale = r.half(scales + 2*group32)
	case weight.Q4_1, weight.Q5_1:
		scale, minimum = r.half(scales+4*group32), r.half(scales+4*group32+2)
	case weight.Q2_K:
		codes := r.data[scales+group16]
		scale, minimum = r.half(tail+4*g)*float32(codes&15), r.half(tail+4*g+2)*float32(codes>>4)
	case weight.Q4_K, weight.Q5_K:
		scale = r.half(tail+4*g) * r.integer(scales+2*group32)
		minimum = r.half(tail+4*g+2) * r.integer(scales+2*group32+1)
	case weight.Q3_K, weight.Q6_K:
		zero = map[weight.Format]int{weight.Q3_K: 4, weight.Q6_K: 32}[f]
		scale = r.half(tail+2*g) * r.signed(scales+group16)
	case weight.IQ4_XS:
		scale = r.half(tail+2*g) * r.signed(scales+group32)
	case weight.Q8_K:
		zero, scale = 128, math.Float32frombits(r.word(tail+4*g))
	}
	q := r.q(step, g, col) - zero
	if r.format == weight.IQ4_NL || r.format == weight.IQ4_XS {
		q = [...]int{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}[q]
	}
	return float32(scale*float32(q)) - minimum
}

// TestLayout: the packed matrix has the weights that weight.Unpack reads from the blocks, of every format,
// for any bytes of the blocks; with rows and columns that fill a row group and its steps, and that do not.
func TestLayout(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	for _, f := range layoutFormats() {
		weights, bytes := f.Block()
		for _, c := range []struct{ rows, blocks int }{{1, 1}, {8, 2}, {7, 3}, {17, 4}, {16, 5}} {
			k := c.blocks * weights
			data := make([]byte, c.rows*c.blocks*bytes)
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			for i := range c.rows * c.blocks { // a few blocks of one byte value
				if value := i % 11; value < 4 {
					for j := range bytes {
						data[i*bytes+j] = []byte{0, 0x7f, 0x80, 0xff}[value]
					}
				}
			}
			m := newQuantMatrix(f, data, c.rows, k)
			got := make([]byte, m.groups()*m.groupBytes(k)+1)
			for i := range got {
				got[i] = 0xa5 // what the upload's buffer had before
			}
			m.pack(got[:len(got)-1], 0)
			require.Equal(t, byte(0xa5), got[len(got)-1])

			name := fmt.Sprintf("%v, %d×%d", f, c.rows, k)
			want := make([]uint16, c.rows*k)
			weight.Unpack(want, data, f)
			r := packedReader{quantLayouts[f], f, got, c.rows, k}
			for i := range want {
				is := weight.ToBF16(r.at(i/k, i%k))
				if is != want[i] && !(isNaN16(is) && isNaN16(want[i])) {
					require.Equal(t, want[i], is, "%s: row %d, column %d", name, i/k, i%k)
				}
			}
			requireZeroPadding(t, &r, name)

			// A group alone has the same bytes.
			last := make([]byte, m.groupBytes(k))
			m.pack(last, m.groups()-1)
			require.Equal(t, got[(m.groups()-1)*len(last):len(got)-1], last, name)
		}
	}
}

func isNaN16(bits uint16) bool { return bits&0x7fff > 0x7f80 }

// requireZeroPadding wants zeros for the integers of rows and columns that do not exist.
func requireZeroPadding(t *testing.T, r *packedReader, name string) {
	t.Helper()
	for row := range ceilDiv(r.rows, 8) * 8 {
		for col := range ceilDiv(r.k, 128) * 128 {
			if row >= r.rows || col >= r.k {
				step := row/8*r.groupBytes(r.k) + col/64*r.stepBytes()
				require.Zero(t, r.q(step, row%8, col), "%s: row %d, column %d", name, row, col)
			}
		}
	}
}

// The bytes of a second of each format.
func BenchmarkPack(b *testing.B) {
	const rows, k = 1024, 3072
	random := rand.New(rand.NewPCG(4, 6))
	for _, f := range layoutFormats() {
		data := make([]byte, rows*f.RowBytes(k))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		m := newQuantMatrix(f, data, rows, k)
		dst := make([]byte, m.groups()*m.groupBytes(k))
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				m.pack(dst, 0)
			}
		})
	}
}
