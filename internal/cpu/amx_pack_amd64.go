package cpu

import (
	"unsafe"

	"phi3/internal/weight"
)

// amxPack is linearKernels.pack. It lays out a group of 32 tokens in tiles [steps, 2, 16, 16, 2]. Up to 16
// tokens in all are in tiles [steps, 16, 16, 2], and a single token is in [steps, 16, 1, 2]. What the last
// step lacks is zeros.
func amxPack(in *input, group int) {
	whole := in.k &^ 31
	steps := upTo32(in.k) / 32
	var last [16 * 32]float32
	if in.tokens == 1 {
		if whole > 0 {
			narrowBF16(&in.packed[0], 64, &in.x[0], whole)
		}
		if whole < in.k {
			copy(last[:], in.x[whole:])
			narrowBF16(&in.packed[2*whole], 64, &last[0], 32)
		}
		return
	}
	next := 2048
	if in.tokens <= 16 {
		next = 1024
	}
	packed := in.packed[group*steps*2048:]
	for half := range 2 {
		first := group*32 + half*16
		tokens := min(in.tokens-first, 16)
		if tokens <= 0 {
			if in.tokens > 16 { // no tokens: any finite numbers
				for step := range steps {
					clear(packed[step*2048+1024 : (step+1)*2048])
				}
			}
			break
		}
		to := packed[half*1024:]
		if whole > 0 {
			packTokens(&packArgs{
				to: &to[0], from: unsafe.Pointer(&in.x[first*in.k]), stride: in.k * 4,
				rows: tokens, steps: whole / 32, next: next, pair: 64,
			})
		}
		if whole < in.k {
			clear(last[:])
			for i := range tokens {
				copy(last[i*32:], in.row(first + i)[whole:])
			}
			packTokens(&packArgs{
				to: &to[whole/32*next], from: unsafe.Pointer(&last), stride: 32 * 4,
				rows: tokens, steps: 1, next: next, pair: 64,
			})
		}
	}
}

// pack copies k … k+width-1 of up to 16 rows, from n on, into tiles [16, 32], one for each step, next bytes
// apart. Weights of float16 become two tiles, next bytes apart, and a step is twice as far from the next one.
// Rows and values of k that do not exist become zeros.
func (t *panel) pack(to []byte, n, count, k, width, next int) {
	steps := width / 32
	if t.operand == weight.F16 {
		steps *= 2
	}
	clearRows(to, count, steps, next)
	if count == 0 {
		return
	}
	whole := min(width, t.k-k) / 32
	if whole > 0 {
		from := unsafe.Pointer(&t.row(n)[2*k])
		t.packSteps(&packArgs{to: &to[0], from: from, stride: 2 * t.k, rows: count, steps: whole, next: next})
	}
	if whole < width/32 {
		var last [16 * 64]byte
		for i := range count {
			copy(last[i*64:(i+1)*64], t.row(n + i)[2*(k+32*whole):])
		}
		at := whole * next
		if t.operand == weight.F16 {
			at *= 2
		}
		t.packSteps(&packArgs{
			to: &to[at], from: unsafe.Pointer(&last), stride: 64, rows: count, steps: 1, next: next,
		})
	}
}

// packUnpacked is pack for quantized weights and tiles 2048 bytes apart.
func (t *panel) packUnpacked(to []byte, n, count, k, width int, s *scratch) {
	clearRows(to, count, width/32, 2048)
	if count == 0 {
		return
	}
	t.unpackRows(s.unpacked[:count*width], n, count, k, 0)
	packRowsBF16(&packArgs{
		to: &to[0], from: unsafe.Pointer(&s.unpacked[0]), stride: 2 * width, rows: count, steps: width / 32,
		next: 2048,
	})
}

// clearRows clears the rows from count on in tiles next bytes apart.
func clearRows(to []byte, count, steps, next int) {
	if count == 16 {
		return
	}
	for step := range steps {
		clear(to[step*next+64*count:][:1024-64*count])
	}
}

// packSteps is pack for whole steps.
func (t *panel) packSteps(a *packArgs) {
	if t.operand == weight.F16 {
		a.second = a.next
		a.next *= 2
		packRowsF16(a)
	} else {
		packRowsBF16(a)
	}
}
