//go:build amd64 && !linux

package cpu

// tilesAllowed says whether the process may use AMX's tile registers. How to ask is known for Linux only.
var tilesAllowed = func() bool { return false }
