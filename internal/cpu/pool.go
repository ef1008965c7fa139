package cpu

import (
	"sync"
	"sync/atomic"
)

// pool is a fixed set of goroutines that share out loops. They live as long as the backend: a forward pass runs some hundred
// loops a token.
type pool struct {
	threads int
	jobs    chan *job
}

// job is one loop being worked on.
type job struct {
	items, grain int
	body         func(worker, from, to int)
	next         atomic.Int64
	workers      atomic.Int64
	unfinished   sync.WaitGroup // ranges
}

// newPool starts threads-1 goroutines; the caller of run is the last one.
func newPool(threads int) *pool {
	p := &pool{threads: threads, jobs: make(chan *job, threads)}
	for range threads - 1 {
		go func() {
			for j := range p.jobs {
				j.work()
			}
		}()
	}
	return p
}

// run calls body for all of 0 … items-1, in ranges of at most grain items, on all threads, and returns when they are done.
// worker is a number below threads that no other running call of body has. Which worker gets which range is left to chance, so
// body must give the same result for every split.
//
// It waits for the work and not for the workers: one that the operating system wakes too late finds nothing left to do.
func (p *pool) run(items, grain int, body func(worker, from, to int)) {
	ranges := (items + grain - 1) / grain
	j := &job{items: items, grain: grain, body: body}
	j.unfinished.Add(ranges)
	for range min(p.threads, ranges) - 1 {
		select {
		case p.jobs <- j:
		default: // all goroutines have a job waiting already
		}
	}
	j.work()
	j.unfinished.Wait()
}

func (j *job) work() {
	worker := int(j.workers.Add(1) - 1)
	for {
		from := int(j.next.Add(int64(j.grain))) - j.grain
		if from >= j.items {
			return
		}
		j.body(worker, from, min(from+j.grain, j.items))
		j.unfinished.Done()
	}
}

// stop ends the goroutines. No run may follow.
func (p *pool) stop() { close(p.jobs) }
