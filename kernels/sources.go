package kernels

import "embed"

// Sources are the files that nvcc compiles for a GPU and g++ for the emulator, and the flags for nvcc. They
// are embedded in the program, so that it can check that the compiled kernels were made from them.
//
//go:embed *.cu *.cuh *.h flags
var Sources embed.FS
