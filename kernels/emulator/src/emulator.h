// Shared by the parts of the emulator:
//
//   grid.cc      launches: the order of their blocks; blocks that begin before the launch before has ended
//   threads.cc   one block: fibers, their order, barriers, warp collectives, shared memory
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
#include <map>
#include <memory>
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
	enum {
		NONE,
		SOME,
		MOST
	} early; // the blocks of a dependent launch that begin before the launch before it has ended
};
std::string describe(const Order &); // as settings

struct Launch {
	const Kernel *kernel;
	dim3 grid, block;
	unsigned dynamic_shared; // bytes
	bool dependent;          // with programmatic stream serialization: it may overlap the launch before it
	unsigned resident;       // the most of its blocks that the device holds at a time
	Order order;
	TensorCore tensor_core;
	size_t blocks() const { return (size_t)grid.x * grid.y * grid.z; }
};

// A launch whose blocks have numbers. They count the blocks of all launches, in the order in which the
// blocks of a launch have their turns.
struct Numbered {
	Launch launch;
	uint32_t first;
	bool has(uint32_t serial) const { return serial - first < launch.blocks(); }
	uint3 index(uint32_t serial) const;
};

struct Block;

// A launch, until it has ended. It may begin when the one before it in the stream may not have ended.
struct Grid : Numbered {
	std::vector<char> args;
	std::shared_ptr<Grid> before; // the launch that this one may overlap; null once that has ended
	std::shared_ptr<std::vector<Numbered>> chain; // of launches, each of which may overlap the one before
	uint32_t complete;  // blocks with a smaller number have ended when this launch begins, if before is null
	bool early_trigger; // a thread has called launch_dependents before it waited
	bool started;       // start was called
	bool holding;       // wait_for_predecessor suspends the block
	size_t triggered;   // blocks that have called launch_dependents
	std::map<uint32_t, Block *> suspended; // by number
	struct SharedObject {
		const void *type;
		size_t offset;
	};
	std::vector<SharedObject> shared_objects;
	size_t shared_used; // bytes of a block, the dynamic ones first
	uint64_t random_state;
	std::string fault; // if the launch failed: what went wrong, and where
	size_t prefetched; // bytes
	~Grid();
};

// before is null unless the launch may overlap that one, which has not ended.
std::shared_ptr<Grid> prepare(const Launch &, const std::vector<char> &args, std::shared_ptr<Grid> before);
// Runs some blocks until they wait for the launch before, which has not ended. The order decides which.
Status start(Grid &);
// Runs what is left of the launch. The one before has ended.
Status finish(Grid &);

constexpr size_t SHARED_MAX = 227 << 10; // bytes of shared memory a block can have
constexpr size_t STATIC_SHARED_MAX = 48 << 10;

// --- threads.cc and grid.cc, for each other, tensor.cc and check.cc

struct Copy { // a cp.async in flight
	void *to;
	const void *from; // null: zeros
	int group;
	const void *caller;
};

struct Fiber {
	void *sp;
	uint3 index;
	int group;   // number of the group of copies that is open
	bool waited; // for the launch before; valid in a dependent launch
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
	uint32_t held;                 // lanes that wait for the launch before
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
	bool triggered;  // one of its threads has called launch_dependents
	unsigned threads, live;
	uint32_t epoch;                   // __syncthreads so far
	unsigned arrived;                 // at the barrier
	Site barrier;                     // where they are waiting
	std::vector<uint32_t> at_barrier; // lanes, by warp
	std::vector<Warp> warps;
	std::vector<Fiber> fibers;
	unsigned held;      // threads that wait for the launch before
	char *stacks;       // of all fibers
	bool guards;        // there is a guard page below each stack
	unsigned most;      // threads that it has had at once
	unsigned made;      // this many fibers wait on their stack for the next block
	unsigned char *shared;
	size_t shared_used; // bytes
	void *shared_shadow; // check.cc's
	unsigned current;   // the fiber that runs
	Fiber &fiber() { return fibers[current]; }
	Warp &warp() { return warps[current / 32]; }
	uint32_t bit() const { return 1u << current % 32; }
};
extern Block *block; // the one that runs, or null
extern Grid *grid;   // its launch

Block *take_block(const Launch &); // null: no memory
void give_back(Block *);           // forgets its threads if they have not ended
// Both run a block until it ends, is suspended or fails.
Status begin(Grid &, Block *, uint32_t serial);
Status resume(Grid &, Block *);
void hold(); // suspends the running thread, until its block is resumed

// Waits for the live lanes of mask to arrive here too.
void collective(const char *what, uint32_t mask, Site, Collective);
// Ends the launch with an error. The report begins with kernel, block and thread.
[[noreturn]] void fail(Status, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool on_fiber_stack(const void *); // of the running block
// The running thread may rely on the completion of all blocks with a smaller number.
uint32_t complete_at_start(const Grid &); // before it waits for the launch before
inline uint32_t complete_before()
{
	return grid->launch.dependent && !block->fiber().waited ? complete_at_start(*grid) : grid->first;
}
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
