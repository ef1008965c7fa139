package cpu

// multiplyAdd does n · 16 fused multiply-adds of four values. n is at least 1.
func multiplyAdd(n int)

// readMemory reads n bytes, a multiple of 128, at least 128.
//
//go:noescape
func readMemory(p *byte, n int)

// neonCompute is kernels.compute.
func neonCompute() float64 {
	const n = 10_000
	multiplyAdd(n)
	return n * 16 * 4 * 2
}

// neonRead is kernels.read.
func neonRead(p []byte) { readMemory(&p[0], len(p)) }
