package sampling

// pushHighest adds a score to a heap of the k highest scores. The first element is the lowest.
func pushHighest[T float32 | float64](heap []T, score T, k int) []T {
	switch {
	case len(heap) < k:
		heap = append(heap, score)
		if len(heap) == k {
			for i := k/2 - 1; i >= 0; i-- {
				sink(heap, i)
			}
		}
	case score > heap[0]:
		heap[0] = score
		sink(heap, 0)
	}
	return heap
}

// sink restores the heap below i: no element is greater than its children at 2i+1 and 2i+2.
func sink[T float32 | float64](heap []T, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child+1] < heap[child] {
			child++
		}
		if heap[i] <= heap[child] {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// ranked is a token to be sorted by key, and by tie where keys are equal.
type ranked struct {
	key    float64
	weight float64
	tie    int32
}

func (r ranked) before(o ranked) bool { return r.key < o.key || r.key == o.key && r.tie < o.tie }

// cut returns the last of the fewest first elements, in sorted order, whose weights add up to need, or the
// last of all if their weights add up to less. r must not be empty or hold two equal elements. cut reorders
// it.
//
// This is quickselect that looks for a sum of weights, not for a number of elements.
func cut(r []ranked, need float64) ranked {
	state := uint32(1) // of a linear congruential generator, which chooses the pivots
	for {
		state = state*1664525 + 1013904223
		pivot := int(uint64(state) * uint64(len(r)) >> 32)
		r[0], r[pivot] = r[pivot], r[0]
		p := r[0]
		low := 0 // r[1:low+1] come before p
		var weight float64
		for i := 1; i < len(r); i++ {
			if r[i].before(p) {
				low++
				r[i], r[low] = r[low], r[i]
				weight += r[low].weight
			}
		}
		switch {
		case low > 0 && weight >= need:
			r = r[1 : low+1]
		case weight+p.weight >= need || low+1 == len(r):
			return p
		default:
			need -= weight + p.weight
			r = r[low+1:]
		}
	}
}
