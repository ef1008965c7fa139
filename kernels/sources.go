package kernels

import "embed"

// Sources are the files that nvcc compiles, and g++ for the emulator, and the flags for nvcc. They travel in
// the program (some ten kilobytes) so that it can tell whether what was compiled was compiled from them.
//
//go:embed *.cu *.cuh *.h flags
var Sources embed.FS
