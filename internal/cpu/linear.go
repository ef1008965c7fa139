package cpu

import "phi3/internal/model"

// NormLinear implements [model.Backend].
func (b *Backend) NormLinear(y, x model.Matrix, norm, w model.Weight) {
	out := values(y)
	b.product(b.normInput(x, norm), w, y.Cols, tileRows, 0, func(token, n int, s []float32) {
		copy(out[token*y.Cols+n:], s)
	})
}

// LinearAdd implements [model.Backend].
func (b *Backend) LinearAdd(x, a model.Matrix, w model.Weight) {
	out := values(x)
	b.product(values(a), w, x.Cols, tileRows, 0, func(token, n int, s []float32) {
		for i, v := range s {
			out[token*x.Cols+n+i] += v
		}
	})
}

// NormGateUp implements [model.Backend]. A tile takes half gate rows and half the up rows that belong to them.
func (b *Backend) NormGateUp(h, x model.Matrix, norm, w model.Weight) {
	const half = tileRows / 2
	out := values(h)
	b.product(b.normInput(x, norm), w, h.Cols, half, h.Cols, func(token, n int, s []float32) {
		y := out[token*h.Cols+n : token*h.Cols+min(n+half, h.Cols)]
		for i := range y {
			y[i] = float32(silu(s[i]) * s[half+i])
		}
		b.asInput(y)
	})
}

// product multiplies x [tokens, k] by the rows of w [out, k], tileRows of them at a time, and gives the sums of every tile and
// token to done, which may run on any thread.
//
// A tile is the rows n … n+group-1 and, where group is half of tileRows, the same rows from n+second on.
// n goes from 0 to rows in steps of group. At the end of the matrix s may hold fewer than tileRows sums (group = tileRows),
// or sums of no meaning past the end (group < tileRows).
func (b *Backend) product(x []float32, w model.Weight, rows, group, second int, done func(token, n int, s []float32)) {
	k := w.Shape[1]
	tokens := len(x) / k
	tiles := (rows + group - 1) / group
	b.pool.run(tiles, max(1, min(16, tiles/(4*b.pool.threads))), func(worker, from, to int) {
		tile := b.tile[worker][:tileRows*k]
		for t := from; t < to; t++ {
			n := t * group
			for i := range tileRows {
				r := n + i%group
				if r >= rows {
					continue // the last tile of a matrix whose rows do not divide evenly
				}
				widen(row(tile, i, k), rowBytes(w, r+i/group*second), w.DType)
			}
			for token := range tokens {
				s := dotTile(tile, row(x, token, k))
				if group == tileRows {
					done(token, n, s[:min(tileRows, rows-n)])
				} else {
					done(token, n, s[:])
				}
			}
		}
	})
}
