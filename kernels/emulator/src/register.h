// Makes kernels known to the driver by their names.
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

// One element of Register's list. The comma ends it, so that PHI3_KERNELS can write one after another.
#define REGISTER_KERNEL(name) emulator::Kernel{#name, emulator::Entry<name>::size, emulator::Entry<name>::call},
