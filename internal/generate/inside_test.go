package generate

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// After a look nothing is watched any longer.
func TestInspectLeavesNothingBehind(t *testing.T) {
	m := open(t, mini, 0)
	s := NewSession(m, false)
	s.Append(prompt...)
	seen := 0
	_, err := s.Inspect(context.Background(),
		Look{EachLens: func(int, []float32) { seen++ }, Attention: []int{2}})
	require.NoError(t, err)
	require.Equal(t, m.Config.Layers+1, seen)
	_, err = s.Logits(context.Background())
	require.NoError(t, err)
	view, err := s.Inspect(context.Background(), Look{})
	require.NoError(t, err)
	require.Equal(t, m.Config.Layers+1, seen)
	require.Nil(t, view.Attention)
}
