// Every kernel, compiled for the CPU. A checked build compiles this file, and no other, with -fsanitize=thread.
#include "../../phi3.cu"
#include "emulator.h"

namespace emulator {

namespace {

template <auto KERNEL> struct Entry;
template <class ARGS, void (*KERNEL)(ARGS)> struct Entry<KERNEL> {
	static constexpr size_t size = sizeof(ARGS);
	static void call(const void *args) { KERNEL(*(const ARGS *)args); }
};

} // namespace

#define KERNEL(name) Kernel{#name, Entry<name>::size, Entry<name>::call},
const std::vector<Kernel> kernels = {PHI3_KERNELS(KERNEL)};

} // namespace emulator
