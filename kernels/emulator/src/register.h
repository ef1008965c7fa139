// Registers kernels with the driver by their names.
#pragma once
#include "emulator.h"
#include <initializer_list>

namespace emulator {

template <auto KERNEL> struct Entry;
template <class ARGS, void (*KERNEL)(ARGS)> struct Entry<KERNEL> {
	static constexpr size_t size = sizeof(ARGS);
	static void call(const void *args) { KERNEL(*(const ARGS *)args); }
};

struct Register {
	Register(std::initializer_list<Kernel> more) { kernels().insert(kernels().end(), more); }
};

} // namespace emulator

// One element of Register's list. It ends with a comma, so that PHI3_KERNELS can write elements one after
// another.
#define REGISTER_KERNEL(name) \
	emulator::Kernel{#name, emulator::Entry<name>::size, emulator::Entry<name>::call},
