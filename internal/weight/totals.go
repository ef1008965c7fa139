package weight

import (
	"fmt"
	"slices"
)

// Total is the size of the tensors that have one format.
type Total struct {
	Format  Format
	Tensors int
	Elems   int64 // weights of all of them
	Bytes   int64
}

// Totals returns the total of each format that occurs, the format with the most weights first. It needs no
// Data.
func Totals(tensors []*Tensor) []Total {
	var totals []Total
	for _, t := range tensors {
		i := slices.IndexFunc(totals, func(total Total) bool { return total.Format == t.Format })
		if i < 0 {
			i, totals = len(totals), append(totals, Total{Format: t.Format})
		}
		totals[i].Tensors++
		totals[i].Elems += int64(t.Elems())
		totals[i].Bytes += t.Bytes()
	}
	slices.SortStableFunc(totals, func(a, b Total) int { return int(min(max(b.Elems-a.Elems, -1), 1)) })
	return totals
}

// Sum returns the total of all tensors. Its Format is the one with the most weights.
func Sum(tensors []*Tensor) (sum Total) {
	for _, t := range Totals(tensors) {
		if sum.Tensors == 0 {
			sum.Format = t.Format
		}
		sum.Tensors, sum.Elems, sum.Bytes = sum.Tensors+t.Tensors, sum.Elems+t.Elems, sum.Bytes+t.Bytes
	}
	return sum
}

// BitsPerWeight is the average size of a weight in bits, 0 if there is none.
func (t Total) BitsPerWeight() float64 {
	if t.Elems == 0 {
		return 0
	}
	return 8 * float64(t.Bytes) / float64(t.Elems)
}

// String describes a checkpoint's weights: "BF16", or "Q4_K, 4.83 bits a weight" if the format is quantized.
func (t Total) String() string {
	if !t.Format.Quantized() {
		return t.Format.String()
	}
	return fmt.Sprintf("%s, %.3g bits a weight", t.Format, t.BitsPerWeight())
}
