// The experiments: small kernels that each ask a GPU one question before an answer is built into the program. They are not part of it.
// Their host side is internal/cuda/experiments_*_test.go; docs/cuda.md says how to run them and how to read the numbers.
//
// One translation unit, for nvcc and for the emulator. A kernel whose instructions a GPU lacks is not compiled for that GPU. The emulator
// has no bulk copies and no wgmma, and it runs blocks and kernels one after another.
#include "chain.cu"
#include "empty.cu"
#include "fill.cu"
#include "read.cu"
#ifdef __CUDACC__
#include "barrier.cu"
#include "wgmma.cu"
#endif
