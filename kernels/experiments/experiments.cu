// The experiments: small kernels, each of which measures one thing about a GPU before the program relies
// on it. They are not part of the program. Their host side is internal/cuda/experiments_*_test.go.
// docs/cuda.md says how to run them and how to read the figures.
//
// This file is one translation unit, for nvcc and for the emulator. A kernel is compiled only for the
// GPUs that have its instructions. The emulator has no bulk copies and no wgmma, and it runs blocks and
// kernels one after another.
#include "empty.cu"
#include "fill.cu"
#include "join.cu"
#include "read.cu"
#ifdef __CUDACC__
#include "barrier.cu"
#include "wgmma.cu"
#endif
