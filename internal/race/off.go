//go:build !race

package race

// Enabled is whether the race detector is in this program.
const Enabled = false
