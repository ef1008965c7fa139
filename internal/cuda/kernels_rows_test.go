//go:build cuda && linux && cgo

package cuda

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEmbedAndCopyRows(t *testing.T) {
	b := openLinear(t)
	var k *kernelSet
	b.do(func() (err error) {
		k, err = b.d.loadKernels(nil)
		return err
	})
	random := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct{ vocab, cols int }{{1, 1}, {5, 7}, {33, 64}, {3, 300}} {
		narrow, wide := make([]uint16, c.vocab*c.cols), make([]float32, c.vocab*c.cols)
		ids := []int32{int32(c.vocab - 1), 0, int32(c.vocab / 2), 0}
		pick := func() []float32 {
			var rows []float32
			for _, id := range ids {
				rows = append(rows, wide[int(id)*c.cols:][:c.cols]...)
			}
			return rows
		}
		for _, typ := range []elementType{typeBF16, typeF16, typeF32} {
			for i := range wide {
				wide[i] = float32(random.NormFloat64())
				if i%5 == 4 { // subnormal in either type
					wide[i] = float32(math.Ldexp(float64(wide[i]),
						map[elementType]int{typeBF16: -129, typeF16: -16, typeF32: -140}[typ]))
				}
				if typ != typeF32 {
					bits, value := stored(typ, float64(wide[i]))
					narrow[i], wide[i] = bits, float32(value)
				}
			}
			table := upload(b, wide)
			if typ != typeF32 {
				b.free(table)
				table = upload(b, narrow)
			}
			idsDev, x := upload(b, ids), b.alloc(len(ids)*c.cols*4)
			k.embed(&b.q, x.devicePtr, table.devicePtr, typ, idsDev.devicePtr, len(ids), c.cols)
			b.run()
			require.Equal(t, pick(), download[float32](b, x), "embed %v type %d", c, typ)
			b.free(table, idsDev, x)
		}
		xDev, rows, y := upload(b, wide), upload(b, ids), b.alloc(len(ids)*c.cols*4)
		k.copyRows(&b.q, y.devicePtr, xDev.devicePtr, rows.devicePtr, len(ids), c.cols)
		b.run()
		require.Equal(t, pick(), download[float32](b, y), "copy_rows %v", c)
		b.free(xDev, rows, y)
	}
}
