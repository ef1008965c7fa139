package bench

import (
	"fmt"

	"phi3/internal/picture"
	"phi3/internal/show"
)

// Chart returns a picture of a comparison of 3 or more tokens: the time for each token, without the first,
// which is all prefill, and the total time up to each token.
func (c *Comparison) Chart() picture.Chart {
	const x = "tokens in the sequence"
	uncached, cached := c.UncachedTimes[1:], c.CachedTimes[1:]
	last := len(c.CachedTimes) - 1
	sumUncached, sumCached := runningTotal(c.UncachedTimes), runningTotal(c.CachedTimes)
	unit, inUncached, inCached := "ms", sumUncached, sumCached
	if sumUncached[last] >= 1000 {
		unit, inUncached, inCached = "s", thousandths(sumUncached), thousandths(sumCached)
	}
	panels := []picture.Panel{
		{Title: "time for a token", Unit: "ms", X: x, From: c.Prompt + 2, Lines: []picture.Line{
			{Name: "no cache: " + show.Digits(uncached[last-1]) + " ms at the end", Values: uncached},
			{Name: "KV cache: " + show.Digits(cached[last-1]) + " ms at the end", Values: cached},
		}},
		{Title: "total time", Unit: unit, X: x, From: c.Prompt + 1, Lines: []picture.Line{
			{Name: "no cache: " + show.Milliseconds(sumUncached[last]), Values: inUncached},
			{Name: "KV cache: " + show.Milliseconds(sumCached[last]), Values: inCached},
		}},
	}
	return picture.Chart{
		Title: c.Title + " with and without its KV cache",
		Note: fmt.Sprintf("%s; prompt %d, generated %d, median of %d repetitions", c.Machine,
			c.Prompt, c.Gen, c.Repetitions),
		Panels: panels,
	}
}

func runningTotal(times []float64) []float64 {
	sums, sum := make([]float64, len(times)), 0.0
	for i, t := range times {
		sum += t
		sums[i] = sum
	}
	return sums
}

func thousandths(values []float64) []float64 {
	less := make([]float64, len(values))
	for i, v := range values {
		less[i] = v / 1000
	}
	return less
}
