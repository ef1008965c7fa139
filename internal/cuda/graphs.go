//go:build cuda && linux && cgo

package cuda

import (
	"slices"

	"gorgonia.org/cu"
)

// graphs sends queues to the device. The second time that it gets the same queue, byte for byte, it
// captures the queue in a CUDA graph, and from then on replays the graph. This happens to decode steps,
// whose launches are the same for every token. Callers need not know.
type graphs struct {
	seen []*seenQueue // most recently used first
}

type seenQueue struct {
	launches queue
	captured bool
	graph    graph // once captured
}

// maxGraphs is the most queues that are remembered. A text has three: that of the first step after the
// prompt, and one for each of the two turns of the later steps. So there is room for texts in batches of
// each size from 1 to 8, and for 8 queues more.
const maxGraphs = 32

// run puts the queue on the stream. It runs on the device's thread.
func (g *graphs) run(d *device, s cu.Stream, q queue) error {
	if len(q) == 0 {
		return nil
	}
	d.prepare(q)
	i := slices.IndexFunc(g.seen, func(s *seenQueue) bool { return slices.Equal(s.launches, q) })
	if i < 0 {
		if err := d.launchAll(s, q); err != nil {
			return err // a capture of kernels that were not loaded yet may be refused
		}
		return g.remember(d, q)
	}
	seen := g.seen[i]
	g.seen = slices.Insert(slices.Delete(g.seen, i, i+1), 0, seen)
	if !seen.captured {
		var err error
		if seen.graph, err = d.captureAllowed(s, q); err != nil {
			return err
		}
		copy(seen.launches, q) // without overlap, if the driver refused it
		seen.captured = true
	}
	return d.launchGraph(s, seen.graph)
}

// captureAllowed makes a graph of a prepared queue. If the driver refuses launches that overlap, but not the
// same launches without overlap, q and all later queues have none, as on a driver that cannot overlap
// launches.
func (d *device) captureAllowed(s cu.Stream, q queue) (graph, error) {
	g, refused := d.capture(s, q)
	if refused == nil || !d.overlap {
		return g, refused
	}
	q.overlap(false)
	g, err := d.capture(s, q)
	if err == nil {
		d.overlap, d.overlapRefused = false, refused
	}
	return g, err
}

// remember adds q as the most recent queue, and forgets the least recent one if there are too many.
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
