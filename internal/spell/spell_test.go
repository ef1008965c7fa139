package spell

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDistance(t *testing.T) {
	require.Equal(t, 3, Distance("kitten", "sitting"))
	require.Equal(t, 4, Distance("", "chat"))
	require.Zero(t, Distance("chat", "chat"))
}
