package cli

import (
	"fmt"

	"phi3/internal/picture"
)

// panels are the pictures of a comparison: the time for each token, the first left out because it is all prefill, and the time so far.
func (c *comparison) panels() []picture.Panel {
	const x = "tokens in the sequence"
	uncached, cached := c.UncachedTimes[1:], c.CachedTimes[1:]
	sumUncached, sumCached := runningTotal(c.UncachedTimes), runningTotal(c.CachedTimes)
	last := len(c.CachedTimes) - 1
	return []picture.Panel{
		{Title: "ms a token", X: x, From: c.Prompt + 2, Lines: []picture.Line{
			{Name: "no cache: " + digits(uncached[last-1]) + " ms at last", Values: uncached},
			{Name: "KV cache: " + digits(cached[last-1]) + " ms", Values: cached},
		}},
		{Title: "total time, s", X: x, From: c.Prompt + 1, Lines: []picture.Line{
			{Name: "no cache: " + duration(sumUncached[last]*1e3), Values: sumUncached},
			{Name: "KV cache: " + duration(sumCached[last]*1e3), Values: sumCached},
		}},
	}
}

// runningTotal sums milliseconds to seconds.
func runningTotal(ms []float64) []float64 {
	sums, sum := make([]float64, len(ms)), 0.0
	for i, v := range ms {
		sum += v / 1e3
		sums[i] = sum
	}
	return sums
}

// draw writes the picture of --plot.
func (c *comparison) draw(file string) error {
	svg, err := picture.Panels(c.panels())
	if err != nil {
		return fmt.Errorf("draw the picture: %w", err)
	}
	return writePicture(file, svg)
}
