// Modules, functions and launches.
#include "driver.h"
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
	case 0: o.kind = Order::FORWARD, o.copies = Order::EARLY; break;
	case 1: o.kind = Order::REVERSE, o.copies = Order::LATE; break;
	case 2: o.kind = Order::FAVOUR, o.copies = Order::EITHER; break;
	default: o.kind = Order::RANDOM, o.copies = Order::EITHER;
	}
	if (settings().copies_given)
		o.copies = settings().order.copies;
	return o;
}

std::string describe(Order o)
{
	static const char *const kinds[] = {"forward", "reverse", "favour:", "random:"}, *const copies[] = {
																						 "early", "late",
																						 "either"};
	std::string s = std::string("order=") + kinds[o.kind];
	if (o.kind >= Order::FAVOUR)
		s += std::to_string(o.number);
	return s + ";copies=" + copies[o.copies];
}

int run_kernel(Launch l, const std::vector<char> &args, bool overlap)
{
	log("launch %s%s", l.kernel->name, overlap ? " overlap" : "");
	if (settings().fault == l.kernel->name)
		return error(ILLEGAL_ADDRESS, std::string(l.kernel->name) + ": the fault that was asked for");
	l.args = args.data(), l.order = next_order();
	Report report = {};
	const Status status = run(l, &report);
	if (report.prefetched)
		log("prefetch %s %zu", l.kernel->name, report.prefetched);
	return status ? error(status, report.fault + " (" + describe(l.order) + ")") : (int)OK;
}

int launch(void *function, dim3 grid, dim3 block, unsigned dynamic_shared, void *stream, void **params,
           void **extra, bool overlap)
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
	std::vector<char> args(from, from + f->kernel->args_size);
	Launch l = {f->kernel, nullptr, grid, block, dynamic_shared, {}, settings().major < 9 ? AMPERE : HOPPER};
	return enqueue(s, [=, args = std::move(args)] { return run_kernel(l, args, overlap); });
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

// Counts dynamic shared memory and threads; static shared memory and registers are not known here. A
// multiprocessor has 1 KB more shared memory than a block can ask for, and reserves 1 KB of it for each
// block.
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads,
                                                size_t dynamic_shared)
{
	LOCK;
	if (!find_function(function) || threads <= 0 || threads > 1024)
		return error(INVALID_VALUE,
		             "cuOccupancyMaxActiveBlocksPerMultiprocessor: no such function, or block");
	const Settings &s = settings();
	const int threads_max = s.major == 8 && s.minor ? 1536 : s.major == 12 ? 1536 : 2048;
	*blocks =
		std::min((int)((s.shared + 1024) / (dynamic_shared + 1024)), std::min(threads_max / threads, 32));
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

// Programmatic stream serialization allows a kernel to start before the one before it has ended. Here
// kernels keep the stream's order, which is also allowed. A cooperative launch is refused, because blocks
// run one after another.
API cuLaunchKernelEx(const CUlaunchConfig *c, void *function, void **params, void **extra)
{
	enum { IGNORE = 0, PROGRAMMATIC_STREAM_SERIALIZATION = 6 }; // CUlaunchAttributeID
	bool overlap = false;
	for (unsigned i = 0; i < c->attribute_count; i++) {
		const CUlaunchAttribute &a = c->attributes[i];
		if (a.id != IGNORE &&
		    (a.id != PROGRAMMATIC_STREAM_SERIALIZATION || (a.value.allowed != 0 && a.value.allowed != 1))) {
			LOCK;
			return error(INVALID_VALUE, "cuLaunchKernelEx: the emulator does not know attribute " +
			                                std::to_string(a.id) + " with value " +
			                                std::to_string(a.value.allowed));
		}
		overlap = overlap || (a.id != IGNORE && a.value.allowed);
	}
	return launch(function, {c->grid[0], c->grid[1], c->grid[2]}, {c->block[0], c->block[1], c->block[2]},
	              c->dynamic_shared, c->stream, params, extra, overlap);
}
