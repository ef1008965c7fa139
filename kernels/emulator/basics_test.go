//go:build linux && amd64

package emulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"phi3/internal/tensorcore"
)

// TestBasics: each kernel's output is right in every order, and nothing is reported.
func TestBasics(t *testing.T) {
	random := func(n int) []uint32 {
		r := rand.New(rand.NewPCG(1, 2))
		in := make([]uint32, n)
		for i := range in {
			in[i] = r.Uint32()
		}
		return in
	}
	r := rand.New(rand.NewPCG(3, 4))
	mma := []tensorcore.Inputs{tensorcore.Kinds[0].Draw(r, 16, 8, 16), tensorcore.Kinds[1].Draw(r, 16, 8, 16)}
	floats := []float32{
		0, 1, -1, 1.00390625, 1.01171875, 3.4e38, -127, 127.5, 1e-40, float32(math.Inf(1)),
		float32(math.NaN()), 0.3,
	}
	inFloats := make([]uint32, len(floats))
	for i, f := range floats {
		inFloats[i] = math.Float32bits(f)
	}
	tests := []struct {
		launch
		in   []uint32
		want func(in []uint32) []uint32
	}{
		{launch{kernel: "shuffles", grid: 1, block: 32, outputs: 296}, shifted(32, 100), wantShuffles},
		{launch{kernel: "mma", grid: 2, block: 32, outputs: 256}, tiles(mma), func([]uint32) []uint32 {
			return sums(mma, tensorcore.Hopper)
		}},
		{
			launch{kernel: "load_matrices", grid: 1, block: 32, dynamic: 512, outputs: 384},
			random(128),
			wantMatrices,
		},
		{
			launch{kernel: "ring", grid: 1, block: 48, dynamic: 3 * 48 * 16, outputs: 48 * 4},
			random(7 * 48 * 4), wantRing,
		},
		{
			launch{kernel: "last_block_merges", grid: 9, block: 64, outputs: 19, times: 2},
			random(9 * 64),
			wantMerge,
		},
		{launch{kernel: "atomics", grid: 3, block: 40, outputs: 6}, count(1), func([]uint32) []uint32 {
			return []uint32{119 * 120 / 2, 119, ^uint32(118), 20, 0, 5}
		}},
		{launch{kernel: "conversions", grid: 1, block: len(floats), outputs: 4 * len(floats)}, inFloats, nil},
	}
	for _, kind := range []Kind{Fast, Checked} {
		l := newLab(t, kind)
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s/%d", test.kernel, kind), func(t *testing.T) {
				for _, order := range orders {
					test.settings = order
					got, err := l.run(t, test.launch, test.in)
					if err != nil {
						t.Fatalf("%s: %v", order, err)
					}
					if test.want == nil {
						checkConversions(t, floats, got)
						continue
					}
					want := test.want(test.in)
					for i := range want {
						// The result of a compare-and-swap chain depends on the order, and any is right.
						if got[i] != want[i] && (test.kernel != "atomics" || i != 4) {
							t.Fatalf("%s: word %d is %#x, want %#x", order, i, got[i], want[i])
						}
					}
				}
			})
		}
	}
}

func shifted(n, by int) []uint32 {
	in := count(n)
	for i := range in {
		in[i] += uint32(by)
	}
	return in
}

func wantShuffles(in []uint32) []uint32 {
	want := make([]uint32, 296)
	for lane := range 32 {
		v := func(source int) uint32 { return in[source] }
		group := lane / 16 * 16
		down, up := lane+3, lane-3
		if down >= group+16 {
			down = lane
		}
		if up < group {
			up = lane
		}
		want[lane] = v(5)
		want[32+lane] = v(lane/8*8 + 5)
		want[64+lane] = v(lane ^ 3)
		want[96+lane] = v(down)
		want[128+lane] = v(up)
		want[160+lane] = v(lane ^ 1)
		for l, x := range in {
			if x%3 == 0 {
				want[192+lane] |= 1 << l
			}
		}
		want[224+lane] = 2
		if lane < 16 {
			want[224+lane]++
		}
		want[256+lane] = v(31)
		if lane < 8 {
			want[288+lane] = v(lane ^ 7)
		}
	}
	return want
}

func wantMatrices(in []uint32) []uint32 {
	element := func(matrix, row, col int) uint32 {
		i := matrix*64 + row*8 + col
		return in[i/2] >> (i % 2 * 16) & 0xffff
	}
	var want []uint32
	for lane := range 32 {
		g, t := lane/4, lane%4*2
		for _, matrices := range []int{4, 2} {
			for m := range matrices {
				want = append(want, element(m, g, t)|element(m, g, t+1)<<16)
			}
			for m := range matrices {
				want = append(want, element(m, t, g)|element(m, t+1, g)<<16)
			}
		}
	}
	return want
}

func wantRing(in []uint32) []uint32 {
	want := make([]uint32, 192)
	for i, v := range in {
		if i/192 != 1 {
			want[i%192] += v
		}
	}
	return want
}

func wantMerge(in []uint32) []uint32 {
	want := make([]uint32, 19)
	for i, v := range in {
		want[0] += v
		want[1+i/32] += v
	}
	return want
}

// checkConversions compares with rounding to nearest, ties to even.
func checkConversions(t *testing.T, floats []float32, got []uint32) {
	t.Helper()
	for i, x := range floats {
		b := math.Float32bits(x)
		want := b >> 16
		if rest := b & 0xffff; rest > 0x8000 || rest == 0x8000 && want&1 == 1 {
			want++
		}
		if x != x {
			want = 0x7fff
		}
		if got[4*i] != want || got[4*i+1] != want|0x3f80<<16 {
			t.Errorf("%g as bfloat16 is %#x, in a pair %#x, want %#x", x, got[4*i], got[4*i+1], want)
		}
		exp := float32(math.Exp2(float64(x)))
		if exp < 0x1p-126 {
			exp = 0
		}
		if e := math.Float32frombits(got[4*i+2]); math.Abs(float64(e-exp)) > 1e-6*float64(exp) &&
			!math.IsInf(float64(exp), 1) {
			t.Errorf("exp2(%g) is %g, want %g", x, e, exp)
		}
		half := math.Ldexp(1+1.0/1024, i-15) // bits i<<10 | 1
		if i == 0 {
			half = 0x1p-24
		}
		if h := math.Float32frombits(got[4*i+3]); float64(h) != half {
			t.Errorf("half %#x is %g, want %g", i<<10|1, h, half)
		}
	}
}
