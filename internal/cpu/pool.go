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
	done         sync.WaitGroup
}

// newPool starts threads-1 goroutines; the caller of run is the last one.
func newPool(threads int) *pool {
	p := &pool{threads: threads, jobs: make(chan *job)}
	for range threads - 1 {
		go func() {
			for j := range p.jobs {
				j.work()
				j.done.Done()
			}
		}()
	}
	return p
}

// run calls body for all of 0 … items-1, in ranges of at most grain items, on all threads, and returns when they are done.
// worker is a number below threads that no other running call of body has. Which worker gets which range is left to chance, so
// body must give the same result for every split.
func (p *pool) run(items, grain int, body func(worker, from, to int)) {
	j := &job{items: items, grain: grain, body: body}
	helpers := min(p.threads-1, (items-1)/grain) // a loop of one range needs no help
	j.done.Add(max(helpers, 0))
	for range helpers {
		p.jobs <- j
	}
	j.work()
	j.done.Wait()
}

func (j *job) work() {
	worker := int(j.workers.Add(1) - 1)
	for {
		from := int(j.next.Add(int64(j.grain))) - j.grain
		if from >= j.items {
			return
		}
		j.body(worker, from, min(from+j.grain, j.items))
	}
}

// stop ends the goroutines. No run may follow.
func (p *pool) stop() { close(p.jobs) }
