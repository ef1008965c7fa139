// What $PHI3_EMULATOR asks for: settings key=value, separated by semicolons. They are read anew at every use, so a test can change
// them; doc.go of the Go package lists them.
#pragma once
#include "emulator.h"

namespace emulator {

struct Settings {
	int devices = 1;
	int sms = 4;
	int major = 9, minor = 0;                 // compute capability
	size_t shared = SHARED_MAX;               // most dynamic shared memory a kernel can be allowed
	size_t memory = (size_t)8 << 30;          // of each device
	size_t free = SIZE_MAX;                   // of it at first; else all
	long fail_alloc = 0;                      // this allocation since the context was made fails; 0: none
	int jit_ms = 0;                           // how long the driver takes to compile PTX
	bool refuse_native = false;               // native code is too new for the driver
	std::string jit_error;                    // what the compiler complains of when a module is loaded
	std::string fault;                        // the kernel that commits an illegal access
	bool ordered = false;                     // whether order was given; else the build's own habit
	Order order = {Order::FORWARD, 0, Order::EARLY};
	bool copies_given = false;
	std::string error; // what is wrong with the settings themselves
};

const Settings &settings();

} // namespace emulator
