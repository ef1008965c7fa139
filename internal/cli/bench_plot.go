package cli

import (
	"fmt"
	"os"
	"strings"

	"phi3/internal/picture"
)

// chart is the picture of a comparison: the time for each token, the first left out because it is all
// prefill, and the time so far.
func (c *comparison) chart() picture.Chart {
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
			{Name: "no cache: " + digits(uncached[last-1]) + " ms at the end", Values: uncached},
			{Name: "KV cache: " + digits(cached[last-1]) + " ms at the end", Values: cached},
		}},
		{Title: "total time", Unit: unit, X: x, From: c.Prompt + 1, Lines: []picture.Line{
			{Name: "no cache: " + duration(sumUncached[last]), Values: inUncached},
			{Name: "KV cache: " + duration(sumCached[last]), Values: inCached},
		}},
	}
	return picture.Chart{
		Title: c.title + " with and without its KV cache",
		Note: fmt.Sprintf("%s; prompt %d, generated %d, median of %d repetitions", machine(c.Device),
			c.Prompt, c.Gen, c.Repetitions),
		Panels: panels,
	}
}

// machine is the device, with the processor's name where it is one and the system tells it.
func machine(device string) string {
	name := field(os.DirFS("/"), "proc/cpuinfo", "model name")
	if name == "" || !strings.HasPrefix(device, "CPU") {
		return device
	}
	return name + ", " + device
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

// draw writes the picture of --plot.
func (c *comparison) draw(file string) error {
	chart := c.chart()
	return writePicture(file, []byte(chart.SVG()))
}
