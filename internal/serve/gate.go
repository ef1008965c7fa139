package serve

import "sync"

// gate counts the requests with a body that the server has begun. It refuses those that are too many, before
// their bodies take memory.
type gate struct {
	mu    sync.Mutex
	most  int
	count int
	shut  bool          // nothing may enter any more
	empty chan struct{} // closed when the gate is shut and nothing is inside
}

// enter reports whether a request may begin; full says why not: there are too many, or the gate is shut. A
// request that has begun calls leave at its end.
func (g *gate) enter() (entered, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || g.count >= g.most {
		return false, !g.shut
	}
	g.count++
	return true, false
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	if g.shut && g.count == 0 {
		close(g.empty)
	}
}

// close shuts the gate. The channel is closed when the last request has left.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut && g.count == 0 {
		close(g.empty)
	}
	g.shut = true
	return g.empty
}

func (g *gate) inside() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// state is what /health says about the gate.
func (g *gate) state() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut:
		return "draining"
	case g.count >= g.most:
		return "overloaded"
	}
	return "ok"
}
