// Shared by the parts of the emulator:
//
//   threads.cc   one launch: fibers, their order, barriers, warp collectives, shared memory
//   tensor.cc    mma, ldmatrix, cp.async
//   mma.cc       the arithmetic of mma
//   memory.cc    device memory
//   check.cc     checks every load and store in a checked build
//   kernels.cc   the kernels themselves; register.h gives them their names
//   settings.cc  $PHI3_EMULATOR: the properties of the device, and the faults to cause
//   driver*.cc   libcuda.so's functions, see driver.h
#pragma once
#include "device.h"
#include "mma.h"
#include <cstddef>
#include <string>
#include <vector>

namespace emulator {

// A kernel that cuModuleGetFunction finds. call runs it as one thread, with a copy of the struct at args.
struct Kernel {
	const char *name;
	size_t args_size;
	void (*call)(const void *args);
};
std::vector<Kernel> &kernels(); // every kernel in the library, see register.h

// The values of CUresult that are used here.
enum Status {
	OK = 0,
	INVALID_VALUE = 1,
	OUT_OF_MEMORY = 2,
	NOT_INITIALIZED = 3,
	NO_DEVICE = 100,
	INVALID_DEVICE = 101,
	INVALID_IMAGE = 200,
	INVALID_CONTEXT = 201,
	NO_BINARY_FOR_GPU = 209,
	INVALID_PTX = 218,
	INVALID_HANDLE = 400,
	NOT_FOUND = 500,
	NOT_READY = 600,
	ILLEGAL_ADDRESS = 700,
	LAUNCH_TIMEOUT = 702,
	MISALIGNED_ADDRESS = 716,
	LAUNCH_FAILED = 719,
	CAPTURE_UNSUPPORTED = 900,
	CAPTURE_INVALIDATED = 901,
	CAPTURE_UNMATCHED = 903,
	CAPTURE_IMPLICIT = 906,
};

struct Order {
	enum { FORWARD, REVERSE, FAVOUR, RANDOM } kind;
	uint64_t number; // FAVOUR: the warp that always runs first; RANDOM: the seed
	enum {
		EARLY,
		LATE,
		EITHER
	} copies; // when the bytes of a cp.async arrive: at once, when waited for, or mixed
};

struct Launch {
	const Kernel *kernel;
	const void *args;
	dim3 grid, block;
	unsigned dynamic_shared; // bytes
	Order order;
	TensorCore tensor_core;
};

struct Report {
	std::string fault; // if the launch failed: what went wrong, and where
	size_t prefetched; // bytes
};

Status run(const Launch &, Report *);

constexpr size_t SHARED_MAX = 227 << 10; // bytes of shared memory a block can have
constexpr size_t STATIC_SHARED_MAX = 48 << 10;

// --- threads.cc, for tensor.cc and check.cc

struct Copy { // a cp.async in flight
	void *to;
	const void *from; // null: zeros
	int group;
	const void *caller;
};

struct Fiber {
	void *sp;
	uint3 index;
	int group; // number of the group of copies that is open
	std::vector<Copy> copies;
};

struct Warp;
using Collective = void (*)(Warp &, uint32_t lanes);

struct Waiting { // what a lane waits for
	const char *what;
	uint32_t mask;
	Site site;
	Collective run; // the last lane to arrive calls it once, for all
};

struct Warp {
	uint32_t live, ready,
		waiting; // lanes that have not ended, that can run, that wait for others of the warp
	uint32_t epoch;                // __syncwarps so far
	bool agreed;                   // all waiting lanes wait for the same as the first of them
	unsigned first;                // the first waiting lane
	Waiting lane[32];
	// The inputs and results of a collective. A lane writes its own element when it arrives and reads it
	// when it continues, so a lane that is already in the next collective does not disturb the others.
	uint64_t value[32]; // shuffles and votes
	int source[32];
	uint32_t a[4][32], b[2][32]; // mma
	float d[4][32];
	const void *row[32], *caller; // ldmatrix
	uint32_t matrix[4][32];
};

struct Block {
	uint3 index;
	uint32_t serial; // counts blocks of all launches
	unsigned threads, live;
	uint32_t epoch;                   // __syncthreads so far
	unsigned arrived;                 // at the barrier
	Site barrier;                     // where they are waiting
	std::vector<uint32_t> at_barrier; // lanes, by warp
	std::vector<Warp> warps;
	std::vector<Fiber> fibers;
	unsigned char *shared;
	size_t shared_used; // dynamic first
	unsigned current;   // the fiber that runs
	Fiber &fiber() { return fibers[current]; }
	Warp &warp() { return warps[current / 32]; }
	uint32_t bit() const { return 1u << current % 32; }
};
extern Block *block; // the one that runs, or null

// Waits for the live lanes of mask to arrive here too.
void collective(const char *what, uint32_t mask, Site, Collective);
// Ends the launch with an error. The report begins with kernel, block and thread.
[[noreturn]] void fail(Status, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool on_fiber_stack(const void *);
const Launch &current_launch();
Report &current_report();
uint32_t first_serial(); // of the launch's blocks
uint3 block_index(uint32_t serial);
uint64_t random_bits();
const char *base_name(const char *path);

// --- memory.cc

void *allocate(size_t bytes); // filled with NaNs; null if the system has no memory
bool release(void *);
struct Allocation {
	uintptr_t start;
	size_t size;
	void *shadow; // check.cc's
};
Allocation *allocation_at(uintptr_t); // the last one that starts at or before the address, or null
bool on_device(const void *, size_t bytes);  // whether all bytes are in one allocation

// --- check.cc: null in a fast build

struct Checks {
	void (*read)(const void *, size_t, const void *caller);  // by the current thread
	void (*atomic)(const void *, size_t, const void *caller);
	void (*fence)();
	void (*copy_started)(const void *to, const void *caller); // 16 bytes of a cp.async
	void (*copy_done)(const void *to, const void *caller);
	void (*host_wrote)(const void *, size_t);                // by a copy or a memset of the driver
	void (*host_moved)(const void *to, const void *from, size_t); // from device to device
	void (*poisoned)(void *, size_t); // from now on unwritten, as if just allocated
	void (*forget)(Allocation *);
};
extern const Checks *checks;

} // namespace emulator
