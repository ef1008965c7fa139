//go:build cuda && linux && cgo

package cuda

import (
	"slices"

	"gorgonia.org/cu"

	"phi3/internal/model"
)

// graphs sends queues to the device. The second time that it gets the same queue, byte for byte, it
// captures the queue in a CUDA graph, and from then on replays the graph. This happens to decode steps,
// whose launches are the same for every token. Callers need not know.
//
// Graphs and queues that came only once, such as those of most prompts, are counted separately. So prompts do
// not make a graph be forgotten. A queue that comes rarely is forgotten before it comes again, and is not
// captured for one more use.
type graphs struct {
	seen []*seenQueue // most recently used first
	most int          // graphs that are kept, see graphsOf; at least leastGraphs
}

type seenQueue struct {
	launches queue
	captured bool
	graph    graph // once captured
}

// mostOnce is the most queues that are remembered and not captured: one for each number of sequences.
const mostOnce = graphSequences

// graphsOf is how many graphs are kept for a plan.
func graphsOf(plan *model.Plan) int {
	return max(leastGraphs, graphsOfBatch*min(plan.Sequences, graphSequences))
}

// run puts the queue on the stream. It runs on the device's thread.
func (g *graphs) run(d *device, s cu.Stream, q queue) error {
	if len(q) == 0 {
		return nil
	}
	d.prepare(q)
	i := slices.IndexFunc(g.seen, func(s *seenQueue) bool { return s.launches.equal(q) })
	if i < 0 {
		if err := d.launchAll(s, q); err != nil {
			return err // a capture of kernels that were not loaded yet may be refused
		}
		g.remember(q)
		return nil
	}
	seen := g.seen[i]
	copy(g.seen[1:], g.seen[:i])
	g.seen[0] = seen
	if !seen.captured {
		if err := g.capture(d, s, q); err != nil {
			return err
		}
	}
	return d.launchGraph(s, seen.graph)
}

// equal compares launches byte for byte. Most queues that differ do so in the first launch, by the number of
// tokens, or in the last one, by the number of rows of logits. So the last one is compared first.
func (q queue) equal(other queue) bool {
	last := len(q) - 1
	return len(q) == len(other) && q[last] == other[last] && slices.Equal(q, other)
}

// capture makes a graph of q, the most recent queue. If there are too many graphs, it first frees the one
// that was used least recently.
func (g *graphs) capture(d *device, s cu.Stream, q queue) error {
	if i := g.excess(true, max(g.most, leastGraphs)); i >= 0 {
		if err := d.free(g.seen[i].graph); err != nil {
			return err
		}
		g.seen = slices.Delete(g.seen, i, i+1)
	}
	seen := g.seen[0]
	var err error
	if seen.graph, err = d.captureAllowed(s, q); err != nil {
		return err
	}
	copy(seen.launches, q) // without overlap, if the driver refused it
	seen.captured = true
	return nil
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

// remember adds q as the most recent queue. If there are too many, q takes the memory of the least recent
// one.
func (g *graphs) remember(q queue) {
	seen := &seenQueue{}
	if i := g.excess(false, mostOnce); i >= 0 {
		seen = g.seen[i]
		g.seen = slices.Delete(g.seen, i, i+1)
	}
	seen.launches = append(seen.launches[:0], q...)
	g.seen = slices.Insert(g.seen, 0, seen)
}

// excess returns the index of the queue that was used least recently, of those that are captured or not, if
// there are at least most of these; otherwise -1.
func (g *graphs) excess(captured bool, most int) int {
	count, last := 0, -1
	for i, s := range g.seen {
		if s.captured == captured {
			count, last = count+1, i
		}
	}
	if count < most {
		return -1
	}
	return last
}
