// The settings in $PHI3_EMULATOR: key=value, separated by semicolons. They are read again at every use,
// so a test can change them. doc.go of the Go package lists them.
#pragma once
#include "emulator.h"

namespace emulator {

struct Settings {
	int devices = 1;
	int sms = 4;
	int major = 9, minor = 0;                 // compute capability
	size_t shared = SHARED_MAX;               // most dynamic shared memory a kernel can be allowed
	size_t memory = (size_t)8 << 30;          // of each device
	size_t free = SIZE_MAX;                   // free at first; by default all
	bool refuse_overlap = false;              // dependent launches are not captured in graphs
	long fail_alloc = 0;                      // this allocation since the context was made fails; 0: none
	int jit_ms = 0;                           // how long the driver takes to compile PTX, in ms
	bool refuse_native = false;               // native code is too new for the driver
	std::string jit_error;                    // the compiler's log; loading a module then fails
	std::string fault;                        // the kernel that commits an illegal access
	std::string log;                          // the file to which log() appends
	bool ordered = false;                     // whether order was given; if not, the build decides
	Order order = {Order::FORWARD, 0, Order::EARLY, Order::MOST};
	bool copies_given = false, early_given = false;
	std::string error; // what is wrong with the settings themselves
};

const Settings &settings();

// Appends a line to the log, if there is one.
void log(const char *format, ...) __attribute__((format(printf, 1, 2)));

} // namespace emulator
