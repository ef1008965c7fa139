package cpu

// prefetch fetches n bytes, at least one, into the second cache.
//
//go:noescape
func prefetch(p *byte, n int)

// avx2Fetch is kernels.fetch.
func avx2Fetch(r kvRows, dim int) {
	size := 2
	if r.f32 != nil {
		size = 4
	}
	prefetch(r.at(0), fetchRows*dim*size)
}
