package cpu

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"phi3/internal/weight"
)

// task is a loop over items that a pool runs on several threads.
type task interface {
	// work does items from … to-1. worker is a number below the pool's number of threads, different from that
	// of every other running call. Timing decides which worker gets which items, so the result must be the
	// same for every split.
	work(worker, from, to int)
}

// pool is a fixed set of goroutines, the workers, that run loops together. They live as long as the backend,
// because a forward pass runs some hundred loops per token. Running a loop allocates nothing. A worker that
// is free takes a part of the items that are left: many neighbours at first and few at the end, so that no
// worker waits long for another.
//
// The operating system needs up to some tens of microseconds to wake a goroutine, as long as the smallest
// loops take. So an idle worker spins for about as long before it sleeps: within a forward pass no worker
// sleeps.
type pool struct {
	threads int
	// How often an idle worker looks for work before it sleeps, about every half microsecond. 0 if there are
	// more threads than processors.
	spins int

	mu       sync.Mutex
	work     sync.Cond // there are items, or the pool is stopped
	done     sync.Cond // the last item is done
	task     task
	items    int              // of the task
	grain    int              // the least number of items that a worker takes, except at the end
	next     int              // the first item that no worker has taken
	sleeping int              // workers that sleep
	tensors  []*weight.Tensor // the weights that tasks read
	fault    error            // a weight could not be read, see take and takeFault
	ended    bool

	// These are written with the lock held and read without it.
	busy atomic.Int32  // workers with items
	runs atomic.Uint32 // loops that workers were woken for, and one more when the pool stops
}

// newPool starts threads-1 workers. The caller of run is the last one.
func newPool(threads int) *pool {
	p := &pool{threads: threads}
	if threads <= runtime.GOMAXPROCS(0) {
		p.spins = 100
	}
	p.work.L, p.done.L = &p.mu, &p.mu
	for worker := 1; worker < threads; worker++ {
		go p.serve(worker)
	}
	return p
}

// run returns when items 0 … items-1 of the task are done. It does not wait for workers that the operating
// system wakes too late to find an item. Only one run may be in progress. After a fault, run does nothing.
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
		for i := 0; i < p.spins && p.busy.Load() > 0; i++ {
			pause()
		}
		p.mu.Lock()
	}
	for p.busy.Load() > 0 {
		p.done.Wait()
	}
	p.task = nil
}

// takeFault returns the fault that ended a run since the last call, or nil.
func (p *pool) takeFault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := p.fault
	p.fault = nil
	return fault
}

// wake wakes all workers. The lock is held.
func (p *pool) wake() {
	p.runs.Add(1)
	if p.sleeping > 0 {
		p.work.Broadcast()
	}
}

// serve is the loop of a worker.
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
		for i := 0; i < p.spins && p.runs.Load() == seen; i++ {
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

// take does items until none are left. The lock is held before and after it, and not during the work.
//
// If the file of a weight can no longer be read, the work panics, and take keeps the fault. Other panics are
// bugs and continue.
func (p *pool) take(worker int) {
	working := false
	defer func() {
		if !working {
			return
		}
		recovered := recover()
		p.mu.Lock()
		p.busy.Add(-1)
		p.next = p.items // no worker takes another item
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

// stop ends the workers. No run may follow.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.wake()
}
