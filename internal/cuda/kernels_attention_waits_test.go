//go:build cuda && linux && cgo

package cuda

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAttentionWaits: attention that may start before qkv is written, and prefill that may start before the
// append to the cache, have the results of launches that follow each other.
func TestAttentionWaits(t *testing.T) {
	t.Run("heads of 64", func(t *testing.T) {
		b := newKernelBench(t)
		c := &attentionCase{shape(2, 1, 64, 32, 0), []int{127, 3}, 1, 1}
		for _, steps := range [][][]int{{{120, 0}, {2, 1}, {5, 2}}, {{127, 3}}} {
			a := openAttention(b, c, typeBF16)
			want, cache := a.attend(steps, 40)
			b.do(func() error {
				m, _, err := b.d.loadCode(nil)
				if err != nil {
					return err
				}
				a.copyRows, err = b.d.function(m, "copy_rows")
				return err
			})
			got, overlappedCache := a.attend(steps, 40)
			require.Equal(t, want, got, "%v", steps)
			require.True(t, slices.Equal(cache, overlappedCache), "%v: another cache", steps)
		}
	})
}
