package kernels

import "embed"

// Sources are the files that nvcc compiles, and g++ for the emulator.
//
//go:embed *.cu *.cuh *.h
var Sources embed.FS
