//go:build amd64 && !linux

package cpu

// tilesAllowed returns whether the process may use AMX's tile registers. Only Linux is supported.
var tilesAllowed = func() bool { return false }
