package cpu

import "phi3/internal/weight"

// The innermost loops in Go. Products are written float32(a*b): the conversion keeps the compiler from fusing
// the multiplication with an addition. It does so on some processors only, and not in every loop.

// goPanelRows is the number of weight rows that dotPanel multiplies at once.
const goPanelRows = 6

// goLinear are the loops of a matrix product in Go.
var goLinear = &linearKernels{
	panelRows: func(int, int, int) int { return goPanelRows },
	multiply: func(p *product, t *panel, s *scratch) {
		sums := s.sums[:p.in.tokens*goPanelRows]
		goDots(sums, t, &p.in, s)
		p.finishSums(sums, goPanelRows, t)
	},
	scratch: func(widest, maxTokens int) scratchSize {
		return scratchSize{sums: maxTokens * goPanelRows, rows: goPanelRows * widest, unpacked: unpackStretch}
	},
}

// goDots sets sums [tokens, goPanelRows] to the products of a panel's rows with every row of x.
func goDots(sums []float32, t *panel, x *input, s *scratch) {
	rows := s.rows[:goPanelRows*t.k]
	halfRows, halves := goPanelRows, 1
	if t.second > 0 {
		halfRows, halves = goPanelRows/2, 2
	}
	for half := range halves {
		for i := range t.count {
			weight.Widen(row(rows, half*halfRows+i, t.k), t.row(t.n+half*t.second+i), t.format)
		}
	}
	for token := range x.tokens {
		s := dotPanel(rows, x.row(token))
		copy(row(sums, token, goPanelRows), s[:])
	}
}

// dotPanel returns the dot products of x [k] with the rows of w [goPanelRows, k]. Each is summed in ascending
// order of k, for one token as for a thousand, which makes logits reproducible.
//
// Independent sums hide the latency of an addition, and each value of x is loaded once for all of them. Six
// sums fit in the registers; with eight, the compiler keeps one of them in memory, which slows down the loop.
func dotPanel(w, x []float32) [goPanelRows]float32 {
	k := len(x)
	w0, w1, w2 := w[0*k:1*k], w[1*k:2*k], w[2*k:3*k]
	w3, w4, w5 := w[3*k:4*k], w[4*k:5*k], w[5*k:6*k]
	w0, w1, w2 = w0[:len(x)], w1[:len(x)], w2[:len(x)] // for the compiler: no bounds checks below
	w3, w4, w5 = w3[:len(x)], w4[:len(x)], w5[:len(x)]
	var s0, s1, s2, s3, s4, s5 float32
	for i, v := range x {
		s0 += float32(w0[i] * v)
		s1 += float32(w1[i] * v)
		s2 += float32(w2[i] * v)
		s3 += float32(w3[i] * v)
		s4 += float32(w4[i] * v)
		s5 += float32(w5[i] * v)
	}
	return [goPanelRows]float32{s0, s1, s2, s3, s4, s5}
}

// elemSize returns the bytes of one element of a weight that is not quantized.
func elemSize(t weight.Format) int {
	if t == weight.F32 {
		return 4
	}
	return 2
}

// argmax returns the lowest id among the greatest logits, or ^id of the first logit that is NaN or infinite.
func argmax(logits []float32) int32 {
	best := 0
	for id, l := range logits {
		if l-l != 0 { // NaN - NaN and Inf - Inf are NaN
			return int32(^id)
		}
		if l > logits[best] {
			best = id
		}
	}
	return int32(best)
}
