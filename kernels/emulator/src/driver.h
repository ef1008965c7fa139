// The parts of the stand-in libcuda.so share these. The emulated driver is as strict as the real one and as lazy: work on a stream
// waits until something synchronises, so that code which forgets to is caught; a pinned buffer is read that late too.
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

struct Moment { // in the life of a stream
	uint64_t stream, number;
};

struct Work {
	Task task;
	std::vector<Moment> after; // what has to be done first, on other streams
};

struct Graph {
	std::vector<Task> tasks;
};

struct Context;

struct Stream {
	Context *context;
	uint64_t id;
	bool blocking;         // waits for the default stream, and it for this one
	std::deque<Work> work; // not done yet
	uint64_t done;         // how much is
	std::unique_ptr<Graph> capture;
	bool capture_broken;
};

struct Event {
	Context *context;
	bool timed, recorded;
	Moment moment;
	double milliseconds; // when the device came there
};

// A device's primary context. Everything is freed with it.
struct Context {
	int device, retained;
	int sticky; // the error that a kernel ended with: from then on the answer to everything
	size_t used;
	long allocations;
	std::map<Address, size_t> memory; // and sizes
	std::map<uint64_t, std::unique_ptr<Stream>> streams; // 0 is the default stream
};

extern std::mutex driver_mutex;

// Remembers details for cuGetErrorString, and gives the code back.
int error(int code, const std::string &detail);
// The calling thread's context, if it is fit for use; else *status says why not.
Context *current(int *status);

// A stream of the context by the caller's handle, or null.
Stream *find_stream(Context *, void *handle);
// Puts the task on the stream, or into the graph that captures it.
int enqueue(Stream *, Task);
// Waits for everything on the stream so far.
int finish(Stream *);
int finish_all(Context *);
bool capturing(const Context *);
void destroy_memory(Context *);

// Whether the caller's handle is alive, for handles that are pointers to our objects.
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
