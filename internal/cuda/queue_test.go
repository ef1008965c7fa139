//go:build cuda && linux && cgo

package cuda

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// BenchmarkDecodeQueue measures what a token of Phi-3-mini costs the host: making the queue of all
// layers, comparing it with the previous one, and giving it to a driver that does nothing.
func BenchmarkDecodeQueue(b *testing.B) {
	q := newQueuer(b, 1)
	for range 2 {
		require.NoError(b, q.decode(1, byHost))
	}
	b.SetBytes(int64(q.launches) * int64(unsafe.Sizeof(launch{})))
	b.ReportAllocs()
	for b.Loop() {
		if err := q.decode(1, byHost); err != nil {
			b.Fatal(err)
		}
	}
	require.Len(b, q.graphs.seen, 1)
	b.ReportMetric(float64(q.launches), "launches")
}

// TestQueueAllocatesNothing: a decode step queues about 160 launches for every token, without garbage.
func TestQueueAllocatesNothing(t *testing.T) {
	k, q := &kernelSet{linearKernels: &linearKernels{}}, make(queue, 0, 4)
	p := product{tokens: 1, rows: 9216, k: 3072, norm: 1}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q = q[:0]
		k.decode(&q, p, 264)
		k.prefill(&q, p)
		k.rmsNorm(&q, rowNorm{typ: typeBF16, tokens: 1, cols: 3072})
		k.argmax(&q, 0, 0, 1, 32064)
	}))
}

func BenchmarkQueue(b *testing.B) {
	k, q := &linearKernels{}, make(queue, 0, 1)
	p := product{tokens: 1, rows: 9216, k: 3072, norm: 1}
	for b.Loop() {
		q = q[:0]
		k.decode(&q, p, 264)
	}
}
