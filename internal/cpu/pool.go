package cpu

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"phi3/internal/weight"
)

// task is a loop that a pool shares out.
type task interface {
	// work does items from … to-1. worker is a number below the pool's threads that no other running call
	// has. Which worker gets which items is left to chance, so the result must be the same for every split.
	work(worker, from, to int)
}

// pool is a fixed set of goroutines that share out loops. They live as long as the backend: a forward pass
// runs some hundred loops a token. Running one allocates nothing. Who asks for items gets a part of those
// that are left: many neighbours at first, and few at last, so that nobody waits long for another.
//
// Waking a goroutine takes the operating system up to some tens of microseconds, as long as the smallest
// loops. So who waits looks out for work, or for its end, for about as long before it goes to sleep: within a
// forward pass nobody does.
type pool struct {
	threads int
	// how often who waits looks before it sleeps, with half a microsecond or so between; 0 where threads have
	// to take turns
	lookouts int

	mu       sync.Mutex
	work     sync.Cond // there are items, or the pool is stopped
	done     sync.Cond // the last item is done
	task     task
	items    int              // of the task
	grain    int              // as few items as a worker may get
	next     int              // first item that nobody has
	sleeping int              // workers that wait for work
	tensors  []*weight.Tensor // those that tasks read
	fault    error            // of reading one of them: see take and takeFault
	ended    bool

	// These change with the lock held, and are looked at without.
	busy atomic.Int32  // workers with items
	runs atomic.Uint32 // how many loops there were to share, and one more at the end
}

// newPool starts threads-1 goroutines; the caller of run is the last one.
func newPool(threads int) *pool {
	p := &pool{threads: threads}
	if threads <= runtime.GOMAXPROCS(0) {
		p.lookouts = 100
	}
	p.work.L, p.done.L = &p.mu, &p.mu
	for worker := 1; worker < threads; worker++ {
		go p.serve(worker)
	}
	return p
}

// run has all items 0 … items-1 of the task done and returns then. It waits for the work and not for the
// workers: one that the operating system wakes too late finds nothing left to do. One run at a time. After a
// fault, run does nothing.
func (p *pool) run(items, grain int, t task) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		return
	}
	p.task, p.items, p.grain, p.next = t, items, grain, 0
	if items > grain && p.threads > 1 {
		p.wake()
	}
	p.take(0)
	if p.busy.Load() > 0 {
		p.mu.Unlock()
		for i := 0; i < p.lookouts && p.busy.Load() > 0; i++ {
			pause()
		}
		p.mu.Lock()
	}
	for p.busy.Load() > 0 {
		p.done.Wait()
	}
	p.task = nil
}

// takeFault returns what has kept a run from its end since the last call, if anything.
func (p *pool) takeFault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := p.fault
	p.fault = nil
	return fault
}

// wake calls all workers. The lock is held.
func (p *pool) wake() {
	p.runs.Add(1)
	if p.sleeping > 0 {
		p.work.Broadcast()
	}
}

// serve is the life of a goroutine.
func (p *pool) serve(worker int) {
	debug.SetPanicOnFault(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		seen := p.runs.Load()
		p.take(worker)
		if p.busy.Load() == 0 {
			p.done.Signal()
		}
		p.mu.Unlock()
		for i := 0; i < p.lookouts && p.runs.Load() == seen; i++ {
			pause()
		}
		p.mu.Lock()
		for p.runs.Load() == seen {
			p.sleeping++
			p.work.Wait()
			p.sleeping--
		}
	}
}

// take works until there are no more items. The lock is held before and after it, and not during the work.
//
// If a weight's file can no longer be read, the work panics, and take keeps the fault. Other panics are bugs, and
// go on.
func (p *pool) take(worker int) {
	working := false
	defer func() {
		if !working {
			return
		}
		recovered := recover()
		p.mu.Lock()
		p.busy.Add(-1)
		p.next = p.items // nobody begins another range
		if p.fault = weight.Fault(recovered, p.tensors); p.fault == nil {
			panic(recovered)
		}
	}()
	for p.next < p.items {
		t, from := p.task, p.next
		p.next = min(from+max(p.grain, (p.items-from)/(2*p.threads)), p.items)
		to := p.next
		p.busy.Add(1)
		p.mu.Unlock()
		working = true
		t.work(worker, from, to)
		working = false
		p.mu.Lock()
		p.busy.Add(-1)
	}
}

// stop ends the goroutines. No run may follow.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.wake()
}
