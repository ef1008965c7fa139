// Shared by the parts of the stand-in libcuda.so. The emulated driver is as strict as the real one. Work
// on a stream waits until something synchronizes, and pinned memory is read only then, so that code that
// forgets to synchronize fails.
//
//   driver.cc          devices, contexts, errors
//   driver_memory.cc   allocations and copies
//   driver_stream.cc   streams, events, capture, graphs
//   driver_launch.cc   modules, functions, launches
#pragma once
#include "settings.h"
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int
#define LOCK std::lock_guard<std::mutex> lock(driver_mutex)

namespace emulator {

using Address = unsigned long long; // CUdeviceptr

using Task = std::function<int()>;

struct Moment { // a point in a stream's work
	uint64_t stream, number;
};

struct KernelLaunch {
	Launch launch; // its order is not known yet
	std::vector<char> args;
};

struct Work { // a task or a kernel's launch
	Task task;
	std::shared_ptr<const KernelLaunch> kernel;
	bool overlaps;              // this launch is dependent, and a launch comes before it
	std::shared_ptr<Grid> grid; // once a block may have begun
	std::vector<Moment> after;  // what must be done first, on other streams
};

struct Graph {
	std::deque<Work> works;
};

struct Context;

struct Stream {
	Context *context;
	uint64_t id;
	bool blocking;         // it waits for the default stream, and the default stream for it
	std::deque<Work> work; // not done yet
	uint64_t done;         // how much work is done
	std::unique_ptr<Graph> capture;
	bool capture_broken;
};

struct Event {
	Context *context;
	bool timed, recorded;
	Moment moment;
	double milliseconds; // when the device reached it
};

// A device's primary context. Everything is freed with it.
struct Context {
	int device, retained;
	int sticky; // the error that a kernel ended with; every later call returns it
	size_t used;
	long allocations;
	std::map<Address, size_t> memory; // allocations and their sizes
	std::map<uint64_t, std::unique_ptr<Stream>> streams; // 0 is the default stream
};

extern std::mutex driver_mutex;

// Remembers the detail for cuGetErrorString and returns the code.
int error(int code, const std::string &detail);
// The calling thread's context if it can be used. If not, it is null and *status is the reason.
Context *current(int *status);

// A stream of the context by the caller's handle, or null.
Stream *find_stream(Context *, void *handle);
// Puts the work on the stream, or into the graph that captures it.
int enqueue(Stream *, Task);
int enqueue(Stream *, KernelLaunch);
// Runs a launch. next are the works after it on its stream, and ready says whether one of them waits for
// nothing on other streams.
int run_kernel(Work &, std::deque<Work> &next, const std::function<bool(const Work &)> &ready);
// Waits for everything on the stream so far.
int finish(Stream *);
int finish_all(Context *);
bool capturing(const Context *);
void destroy_memory(Context *);

// The objects whose handles are alive. A handle is a pointer to its object.
template <class T> struct Handles {
	std::map<void *, std::unique_ptr<T>> alive;
	T *add(std::unique_ptr<T> object)
	{
		T *p = object.get();
		alive[p] = std::move(object);
		return p;
	}
	T *find(void *handle)
	{
		auto it = alive.find(handle);
		return it == alive.end() ? nullptr : it->second.get();
	}
	bool remove(void *handle) { return alive.erase(handle) > 0; }
};

} // namespace emulator
