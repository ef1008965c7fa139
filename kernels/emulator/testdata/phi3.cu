// Replaces kernels/phi3.cu in the emulator's own tests.
#include "basics.cu"
#include "faults.cu"
#include "dependent.cu"

#define PHI3_KERNELS(KERNEL) \
	BASIC_KERNELS(KERNEL)    \
	FAULT_KERNELS(KERNEL)    \
	DEPENDENT_KERNELS(KERNEL)
