// The experiments: small kernels that each ask a GPU one question, before an answer is built into the program. They are no part of it.
// Their host side is internal/cuda/experiments_*_test.go; docs/cuda.md says how to run them and how to read the numbers.
//
// One translation unit, for nvcc and for the emulator. A kernel whose instructions a GPU lacks is not compiled for that GPU. The emulator
// has neither programmatic dependent launch nor bulk copies nor wgmma, and no two blocks at once.
#include "chain.cu"
#include "empty.cu"
#include "fill.cu"
#include "read.cu"
#ifdef __CUDACC__
#include "barrier.cu"
#include "wgmma.cu"
#endif
