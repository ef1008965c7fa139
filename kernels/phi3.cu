// All kernels as one translation unit: one module for the driver, one object for the emulator. nvcc and g++ both compile this file.
//
// A new kernel needs two lines here, its file and its name; nothing else lists kernels.
#include "copy_rows.cu"
#include "embed.cu"

#define PHI3_KERNELS(KERNEL) \
	KERNEL(copy_rows)        \
	KERNEL(embed)
