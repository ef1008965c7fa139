// The arithmetic of tensor cores. See mma.cc.
#pragma once
#include <cstdint>

namespace emulator {

// The generations of tensor cores, which add differently: AMPERE is compute capability 8.x, HOPPER 9.0
// and newer.
enum TensorCore { AMPERE, HOPPER };

// d += a·b for the registers [register][lane] of one warp, in the layout of gpu.h: mma.sync.m16n8k16 of
// bfloat16 with float32 sums.
void mma(TensorCore, float (&d)[4][32], const uint32_t (&a)[4][32], const uint32_t (&b)[2][32]);

} // namespace emulator
