package safetensors

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFloat32s(t *testing.T) {
	want := []float32{1, -2.5, 0.0009765625}
	for dtype, data := range map[DType][]byte{
		BF16: {0x80, 0x3f, 0x20, 0xc0, 0x80, 0x3a},
		F16:  {0x00, 0x3c, 0x00, 0xc1, 0x00, 0x14},
		F32:  {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0x80, 0x3a},
	} {
		require.Equal(t, want, (&Tensor{DType: dtype, Shape: []int{3}, Data: data}).Float32s(), dtype)
	}
	require.Panics(t, func() { (&Tensor{DType: "I8", Shape: []int{1}, Data: []byte{1}}).Float32s() })
}
