package cpu

import (
	"math/rand"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"phi3/internal/backendtest"
	"phi3/internal/weight"
)

// The loops for Q6_K with AVX512-VBMI and without it give the same bits. Other tests run only one of them.
func TestQ6_KWithoutVBMI(t *testing.T) {
	if !thisProcessor().bf16 || !cpu.X86.HasAVX512VBMI {
		t.Skip("the processor has no AVX512-BF16 or no AVX512-VBMI")
	}
	const k = 768
	rng := rand.New(rand.NewSource(23))
	rows := backendtest.RandomBlocks(rng, weight.Q6_K, 8*k)
	stride := weight.Q6_K.RowBytes(k)
	x := make([]uint16, k)
	for i, v := range normals(rng, k) {
		x[i] = weight.ToBF16(v)
	}
	sums := func(dot func(*dotArgs)) []float32 {
		lanes, scales := make([]float32, 8*16), make([]byte, 768)
		dot(&dotArgs{
			sums: &lanes[0], rows: &rows[0], stride: stride, x: (*float32)(unsafe.Pointer(&x[0])), k: k,
			scales: &scales[0],
		})
		return lanes
	}
	want := sums(dot8x1PairsQ6_K)
	require.NotEqual(t, make([]float32, 8*16), want)
	require.Equal(t, want, sums(dot8x1PairsQ6_KVBMI))
}
