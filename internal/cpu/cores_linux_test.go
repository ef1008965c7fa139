package cpu

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCores(t *testing.T) {
	n := cores()
	require.GreaterOrEqual(t, n, 0)
	var some unix.CPUSet
	for _, c := range []int{0, 1, 2, 5, 70} {
		some.Set(c)
	}
	list := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	sys := fstest.MapFS{
		"cpu0/topology/thread_siblings_list":  list("0,4\n"),
		"cpu1/topology/thread_siblings_list":  list("1,5\n"),
		"cpu2/topology/thread_siblings_list":  list("2,6\n"),
		"cpu5/topology/thread_siblings_list":  list("1,5\n"),
		"cpu70/topology/thread_siblings_list": list("70\n"),
	}
	require.Equal(t, 4, coresOf(sys, &some), "5 is the other half of 1")
	some.Set(3)
	require.Zero(t, coresOf(sys, &some), "nothing is known of 3")
}
