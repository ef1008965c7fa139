package cpu

// multiplyAdd does n · 12 fused multiply-adds of eight values. n is at least 1.
func multiplyAdd(n int)

// readMemory reads n bytes, a multiple of 128, at least 128.
//
//go:noescape
func readMemory(p *byte, n int)

// avx2Compute is kernels.compute.
func avx2Compute() float64 {
	const n = 10_000
	multiplyAdd(n)
	return n * 12 * 8 * 2
}

// avx2Read is kernels.read.
func avx2Read(p []byte) { readMemory(&p[0], len(p)) }
