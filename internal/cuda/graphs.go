//go:build cuda && linux && cgo

package cuda

import (
	"slices"

	"gorgonia.org/cu"
)

// graphs sends queues to the device. A queue that comes a second time, launch for launch and byte for byte,
// is captured into a CUDA graph and replayed from then on: that is what happens to the decode step, whose
// launches are the same for every token. Nobody above needs to know.
type graphs struct {
	seen []*seenQueue // most recently used first
}

type seenQueue struct {
	launches queue
	captured bool
	graph    graph // once captured
}

// maxGraphs bounds what is remembered: decode steps of 1 to 8 tokens, and as many other queues.
const maxGraphs = 16

// run puts the queue on the stream. On the device's thread.
func (g *graphs) run(d *device, s cu.Stream, q queue) error {
	if len(q) == 0 {
		return nil
	}
	i := slices.IndexFunc(g.seen, func(s *seenQueue) bool { return slices.Equal(s.launches, q) })
	if i < 0 {
		if err := g.remember(d, q); err != nil {
			return err
		}
		return d.launchAll(s, q)
	}
	seen := g.seen[i]
	g.seen = slices.Insert(slices.Delete(g.seen, i, i+1), 0, seen)
	if !seen.captured {
		var err error
		if seen.graph, err = d.capture(s, q); err != nil {
			return err
		}
		seen.captured = true
	}
	return d.launchGraph(s, seen.graph)
}

// remember makes q the most recent of what was seen, and forgets the least recent if there are too many.
func (g *graphs) remember(d *device, q queue) error {
	if len(g.seen) == maxGraphs {
		oldest := g.seen[maxGraphs-1]
		g.seen = g.seen[:maxGraphs-1]
		if oldest.captured {
			if err := d.free(oldest.graph); err != nil {
				return err
			}
		}
	}
	g.seen = slices.Insert(g.seen, 0, &seenQueue{launches: slices.Clone(q)})
	return nil
}
