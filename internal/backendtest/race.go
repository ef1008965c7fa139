//go:build race

package backendtest

// slow: the race detector slows arithmetic tenfold, and what it looks for shows on two checkpoints and two
// quantized formats as well as on all.
const slow = true
