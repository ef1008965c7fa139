//go:build race

package backendtest

// slow: the race detector slows arithmetic tenfold, and what it looks for shows on two checkpoints as well as
// on eight.
const slow = true
