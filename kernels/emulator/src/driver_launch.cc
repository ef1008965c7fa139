// Modules, functions and launches.
#include "driver.h"
#include <algorithm>
#include <unistd.h>

namespace emulator {

namespace {

struct Function {
	const Kernel *kernel;
	int dynamic_max;
};

struct Module {
	std::map<std::string, Function> functions;
};

Handles<Module> modules;

Function *find_function(void *handle)
{
	for (auto &[key, m] : modules.alive)
		for (auto &[name, f] : m->functions)
			if (&f == handle)
				return &f;
	return nullptr;
}

enum { SHARED_SIZE_BYTES = 1, BINARY_VERSION = 6, MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 }; // CUfunction_attribute

// The order of a launch for which the settings give none. A fast build always takes the first order, a
// checked build takes each of the four in turn.
Order next_order()
{
	static uint64_t launches;
	Order o = settings().order;
	if (settings().ordered || !checks)
		return o;
	o.number = launches / 4;
	switch (launches++ % 4) {
	case 0: o = {Order::FORWARD, o.number, Order::EARLY, Order::NONE}; break;
	case 1: o = {Order::REVERSE, o.number, Order::LATE, Order::MOST}; break;
	case 2: o = {Order::FAVOUR, o.number, Order::EITHER, Order::SOME}; break;
	default: o = {Order::RANDOM, o.number, Order::EITHER, Order::SOME};
	}
	if (settings().copies_given)
		o.copies = settings().order.copies;
	if (settings().early_given)
		o.early = settings().order.early;
	return o;
}

// Blocks of so many threads and bytes of shared memory that a multiprocessor can hold. Static shared
// memory and registers are not known here. A multiprocessor has 1 KB more shared memory than a block can
// ask for, and reserves 1 KB of it for each block.
int resident(size_t threads, size_t dynamic_shared)
{
	const Settings &s = settings();
	const size_t threads_max = s.major == 8 && s.minor ? 1536 : s.major == 12 ? 1536 : 2048;
	return (int)std::min({(s.shared + 1024) / (dynamic_shared + 1024), threads_max / threads, (size_t)32});
}

std::shared_ptr<Grid> prepare(const KernelLaunch &k, std::shared_ptr<Grid> before)
{
	Launch l = k.launch;
	l.order = next_order();
	return prepare(l, k.args, std::move(before));
}

int launch(void *function, dim3 grid, dim3 block, unsigned dynamic_shared, void *stream, void **params,
           void **extra, bool dependent)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Function *f = find_function(function);
	if (!f)
		return error(INVALID_HANDLE, "launch: no such function");
	Stream *s = find_stream(c, stream);
	const std::string name = f->kernel->name;
	if (!s)
		return error(INVALID_HANDLE, name + ": no such stream");
	if (!params || !params[0] || extra)
		return error(INVALID_VALUE, name + ": a kernel takes exactly one parameter");
	const size_t threads = (size_t)block.x * block.y * block.z;
	if (!grid.x || !grid.y || !grid.z || !threads || grid.x > 0x7fffffff || grid.y > 65535 ||
	    grid.z > 65535 || block.z > 64 || threads > 1024)
		return error(INVALID_VALUE,
		             name + ": a grid of (" + std::to_string(grid.x) + "," + std::to_string(grid.y) + "," +
		                 std::to_string(grid.z) + ") blocks of (" + std::to_string(block.x) + "," +
		                 std::to_string(block.y) + "," + std::to_string(block.z) + ") threads");
	if (dynamic_shared > (unsigned)f->dynamic_max)
		return error(INVALID_VALUE, name + ": " + std::to_string(dynamic_shared) +
		                                " bytes of dynamic shared memory, allowed are " +
		                                std::to_string(f->dynamic_max));
	const char *from = (const char *)params[0];
	const int blocks = settings().sms * resident(threads, dynamic_shared);
	const Launch l = {f->kernel, grid, block, dynamic_shared, dependent, (unsigned)blocks, {},
	                  settings().major < 9 ? AMPERE : HOPPER};
	return enqueue(s, KernelLaunch{l, {from, from + f->kernel->args_size}});
}

// Writes the compiler's log to the buffer that the caller's options name.
void write_log(const std::string &log, unsigned n, const int *options, void **values)
{
	enum { ERROR_LOG_BUFFER = 5, ERROR_LOG_BUFFER_SIZE_BYTES = 6 };
	char *buffer = nullptr;
	for (unsigned i = 0; i < n; i++)
		if (options[i] == ERROR_LOG_BUFFER)
			buffer = (char *)values[i];
	for (unsigned i = 0; i < n; i++)
		if (options[i] == ERROR_LOG_BUFFER_SIZE_BYTES && buffer && (size_t)values[i] > 0) {
			const size_t length = std::min(log.size(), (size_t)values[i] - 1);
			memcpy(buffer, log.data(), length);
			buffer[length] = 0;
			values[i] = (void *)(length + 1);
		}
}

} // namespace

// The launches that come next on the stream may begin before this one has ended, if they are dependent
// and the one before each of them allows it.
int run_kernel(Work &work, std::deque<Work> &next, const std::function<bool(const Work &)> &ready)
{
	const char *name = work.kernel->launch.kernel->name;
	if (settings().fault == name)
		return error(ILLEGAL_ADDRESS, std::string(name) + ": the fault that was asked for");
	if (!work.grid)
		work.grid = prepare(*work.kernel, nullptr);
	const Work *before = &work;
	for (Work &w : next) {
		if (!w.overlaps)
			break;
		if (!w.grid)
			w.grid = prepare(*w.kernel, before->grid);
		if (!ready(w))
			break;
		if (const Status status = start(*w.grid))
			return error(status, w.grid->fault);
		if (w.grid->triggered < w.grid->launch.blocks())
			break;
		before = &w;
	}
	log("launch %s%s", name, work.kernel->launch.dependent ? " overlap" : "");
	const Status status = finish(*work.grid);
	if (work.grid->prefetched)
		log("prefetch %s %zu", name, work.grid->prefetched);
	return status ? error(status, work.grid->fault) : (int)OK;
}

// Objects of other files fill it before main, so it is made at the first call.
std::vector<Kernel> &kernels()
{
	static std::vector<Kernel> all;
	return all;
}

} // namespace emulator

using namespace emulator;

// Accepts any image that is not empty, because the kernels are built in.
API cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values)
{
	LOCK;
	int status;
	if (!current(&status))
		return status;
	if (!image || !*(const char *)image)
		return error(INVALID_IMAGE, "it is empty");
	const bool ptx = !memcmp(image, "//", 2) || *(const char *)image == '.'; // a comment, or .version
	if (!ptx && settings().refuse_native)
		return error(NO_BINARY_FOR_GPU, "");
	if (ptx)
		usleep((unsigned)settings().jit_ms * 1000);
	if (!settings().jit_error.empty()) {
		write_log(settings().jit_error, n, options, values);
		return error(INVALID_PTX, "");
	}
	*module = modules.add(std::make_unique<Module>());
	return OK;
}

API cuModuleLoadData(void **module, const void *image)
{
	return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

API cuModuleUnload(void *module)
{
	LOCK;
	return modules.remove(module) ? OK : error(INVALID_HANDLE, "cuModuleUnload: no such module");
}

API cuModuleGetFunction(void **function, void *module, const char *name)
{
	LOCK;
	int status;
	if (!current(&status))
		return status;
	Module *m = modules.find(module);
	if (!m)
		return error(INVALID_HANDLE, "cuModuleGetFunction: no such module");
	for (const Kernel &k : kernels())
		if (!strcmp(k.name, name)) {
			*function = &m->functions.try_emplace(name, Function{&k, 48 << 10}).first->second;
			return OK;
		}
	return error(NOT_FOUND, name);
}

API cuFuncSetAttribute(void *function, int attribute, int value)
{
	LOCK;
	Function *f = find_function(function);
	if (!f)
		return error(INVALID_HANDLE, "cuFuncSetAttribute: no such function");
	if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES)
		return OK; // the others are hints
	if (value < 0 || (size_t)value > settings().shared)
		return error(INVALID_VALUE, std::string(f->kernel->name) + ": " + std::to_string(value) +
		                                " bytes of dynamic shared memory, the device has " +
		                                std::to_string(settings().shared));
	f->dynamic_max = value;
	return OK;
}

API cuFuncGetAttribute(int *value, int attribute, void *function)
{
	LOCK;
	Function *f = find_function(function);
	if (!f)
		return error(INVALID_HANDLE, "cuFuncGetAttribute: no such function");
	*value = attribute == 0                             ? 1024
	         : attribute == MAX_DYNAMIC_SHARED_SIZE_BYTES ? f->dynamic_max
	         : attribute == BINARY_VERSION                ? settings().major * 10 + settings().minor
	                                                      : 0;
	return OK;
}

API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads,
                                                size_t dynamic_shared)
{
	LOCK;
	if (!find_function(function) || threads <= 0 || threads > 1024)
		return error(INVALID_VALUE,
		             "cuOccupancyMaxActiveBlocksPerMultiprocessor: no such function, or block");
	*blocks = resident((size_t)threads, dynamic_shared);
	return OK;
}

API cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned dynamic_shared, void *stream, void **params, void **extra)
{
	return launch(function, {gx, gy, gz}, {bx, by, bz}, dynamic_shared, stream, params, extra, false);
}

struct CUlaunchAttribute {
	int id;
	alignas(8) union {
		char pad[64];
		int allowed;
	} value;
};

struct CUlaunchConfig {
	unsigned grid[3], block[3], dynamic_shared;
	void *stream;
	const CUlaunchAttribute *attributes;
	unsigned attribute_count;
};

// Programmatic stream serialization makes a launch dependent, see grid.cc. A cooperative launch is refused,
// because blocks run one after another.
API cuLaunchKernelEx(const CUlaunchConfig *c, void *function, void **params, void **extra)
{
	enum { IGNORE = 0, PROGRAMMATIC_STREAM_SERIALIZATION = 6 }; // CUlaunchAttributeID
	bool dependent = false;
	for (unsigned i = 0; i < c->attribute_count; i++) {
		const CUlaunchAttribute &a = c->attributes[i];
		if (a.id != IGNORE &&
		    (a.id != PROGRAMMATIC_STREAM_SERIALIZATION || (a.value.allowed != 0 && a.value.allowed != 1))) {
			LOCK;
			return error(INVALID_VALUE, "cuLaunchKernelEx: the emulator does not know attribute " +
			                                std::to_string(a.id) + " with value " +
			                                std::to_string(a.value.allowed));
		}
		dependent = dependent || (a.id != IGNORE && a.value.allowed);
	}
	return launch(function, {c->grid[0], c->grid[1], c->grid[2]}, {c->block[0], c->block[1], c->block[2]},
	              c->dynamic_shared, c->stream, params, extra, dependent);
}
