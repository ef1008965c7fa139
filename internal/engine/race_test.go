//go:build race

package engine_test

// slow: the race detector slows arithmetic tenfold.
const slow = true
