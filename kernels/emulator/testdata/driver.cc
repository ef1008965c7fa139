// Checks that the stand-in driver is strict. driver LIBCUDA LOG prints what differs from the expected, and
// makes the driver log a part of it. PHI3_EMULATOR must be "devices=2;memory=1048576;fail-alloc=5".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <initializer_list>
#include <string>

static void *library;
static int wrong;

template <class... T> static int call(const char *function, T... args)
{
	void *f = dlsym(library, function);
	if (!f)
		fprintf(stderr, "there is no %s\n", function), exit(2);
	return ((int (*)(T...))f)(args...);
}

static void expect(int line, long got, long want)
{
	if (got != want)
		printf("driver.cc:%d: got %ld, want %ld\n", line, got, want), wrong++;
}
#define EXPECT(want, ...) expect(__LINE__, __VA_ARGS__, want)

typedef unsigned long long Address;
static void *const NONE = nullptr;

int main(int argc, char **argv)
{
	if (argc != 3 || !(library = dlopen(argv[1], RTLD_NOW)))
		return fprintf(stderr, "%s\n", dlerror()), 2;
	void *context, *context1, *stream, *other, *event, *module, *function, *graph, *executable;
	int n;
	EXPECT(3, call("cuDeviceGetCount", &n)); // not initialized
	EXPECT(0, call("cuInit", 0u));
	EXPECT(0, call("cuDeviceGetCount", &n));
	EXPECT(2, (long)n);
	EXPECT(101, call("cuDeviceGet", &n, 2));
	EXPECT(201, call("cuCtxSynchronize")); // no context
	EXPECT(0, call("cuDevicePrimaryCtxRetain", &context, 0));
	EXPECT(0, call("cuDevicePrimaryCtxRetain", &context1, 1));
	EXPECT(0, call("cuCtxSetCurrent", context));

	// Memory: limits, the failing allocation, ranges.
	Address a, b, c;
	size_t free, total;
	EXPECT(2, call("cuMemAlloc_v2", &a, (size_t)(1 << 20) + 1));
	EXPECT(0, call("cuMemAlloc_v2", &a, (size_t)1000));
	EXPECT(0, call("cuMemAlloc_v2", &b, (size_t)1000));
	EXPECT(0, call("cuMemAlloc_v2", &c, (size_t)1000));
	EXPECT(2, call("cuMemAlloc_v2", &c, (size_t)1000)); // the fifth
	EXPECT(0, call("cuMemGetInfo_v2", &free, &total));
	EXPECT((1 << 20) - 3 * 1024, (long)free);
	char bytes[1001] = {};
	EXPECT(1, call("cuMemcpyHtoD_v2", a, (const void *)bytes, (size_t)1001));
	EXPECT(1, call("cuMemcpyDtoH_v2", (void *)bytes, a + 1, (size_t)1000));
	EXPECT(1, call("cuMemsetD8Async", a + 999, (unsigned char)0, (size_t)2, NONE));
	EXPECT(1, call("cuMemFree_v2", a + 1));

	// Pinned memory is read when its turn comes, pageable memory at once.
	char *pinned, *back;
	EXPECT(0, call("cuMemHostAlloc", (void **)&pinned, (size_t)8, 0u));
	EXPECT(0, call("cuMemAllocHost_v2", (void **)&back, (size_t)8));
	EXPECT(0, call("cuStreamCreate", &stream, 1u));
	EXPECT(0, call("cuStreamCreate", &other, 1u));
	bytes[0] = pinned[0] = 1;
	EXPECT(0, call("cuMemcpyHtoDAsync_v2", a, (const void *)pinned, (size_t)8, stream));
	EXPECT(0, call("cuMemcpyHtoDAsync_v2", b, (const void *)bytes, (size_t)8, stream));
	EXPECT(1, call("cuMemcpyHtoDAsync_v2", a, (const void *)pinned, (size_t)9, stream));
	EXPECT(0, call("cuMemcpyDtoHAsync_v2", (void *)back, a, (size_t)1, stream));
	bytes[0] = pinned[0] = 2, back[0] = 0;
	EXPECT(600, call("cuStreamQuery", stream)); // the first copy
	EXPECT(0, (long)back[0]);
	EXPECT(0, call("cuStreamSynchronize", stream));
	EXPECT(2, (long)back[0]);
	EXPECT(0, call("cuStreamQuery", stream));
	EXPECT(0, call("cuMemcpyDtoH_v2", (void *)bytes, b, (size_t)1));
	EXPECT(1, (long)bytes[0]);

	// A stream waits for another's event, and not for more of it. The log shows what was called and done.
	setenv("PHI3_EMULATOR", ("devices=2;memory=1048576;log=" + std::string(argv[2])).c_str(), 1);
	EXPECT(0, call("cuEventCreate", &event, 0u));
	EXPECT(0, call("cuMemsetD8Async", a, (unsigned char)3, (size_t)8, stream));
	EXPECT(0, call("cuEventRecord", event, stream));
	EXPECT(0, call("cuMemsetD8Async", b, (unsigned char)4, (size_t)8, stream));
	EXPECT(0, call("cuStreamWaitEvent", other, event, 0u));
	EXPECT(0, call("cuMemcpyDtoDAsync_v2", c, a, (size_t)4, other));
	EXPECT(0, call("cuMemcpyDtoDAsync_v2", c + 4, b, (size_t)4, other));
	EXPECT(0, call("cuMemcpyDtoHAsync_v2", (void *)back, c, (size_t)8, other));
	EXPECT(0, call("cuStreamSynchronize", other));
	EXPECT(3, (long)back[0]);
	EXPECT(1, (long)back[4]);
	EXPECT(600, call("cuStreamQuery", stream));
	EXPECT(0, call("cuCtxSynchronize"));

	// Capture records, and refuses what would wait.
	EXPECT(0, call("cuStreamBeginCapture_v2", stream, 0));
	EXPECT(0, call("cuMemsetD32Async", a, 7u, (size_t)2, stream));
	EXPECT(0, call("cuStreamIsCapturing", stream, &n));
	EXPECT(1, (long)n);
	EXPECT(0, call("cuStreamEndCapture", stream, &graph));
	EXPECT(0, call("cuGraphInstantiateWithFlags", &executable, graph, 0ull));
	EXPECT(0, call("cuGraphDestroy", graph));
	EXPECT(0, call("cuMemcpyDtoH_v2", (void *)back, a, (size_t)1));
	EXPECT(3, (long)back[0]);
	EXPECT(0, call("cuGraphLaunch", executable, stream));
	EXPECT(0, call("cuStreamSynchronize", stream));
	EXPECT(0, call("cuMemcpyDtoH_v2", (void *)back, a, (size_t)1));
	EXPECT(7, (long)back[0]);
	EXPECT(0, call("cuGraphExecDestroy", executable));
	EXPECT(1, call("cuGraphLaunch", executable, stream));
	EXPECT(0, call("cuStreamBeginCapture_v2", stream, 0));
	EXPECT(900, call("cuStreamSynchronize", stream));
	EXPECT(901, call("cuStreamEndCapture", stream, &graph));

	setenv("PHI3_EMULATOR", "devices=2;memory=1048576", 1);

	// Modules and launches.
	EXPECT(200, call("cuModuleLoadData", &module, (const void *)""));
	EXPECT(0, call("cuModuleLoadData", &module, (const void *)"image"));
	EXPECT(500, call("cuModuleGetFunction", &function, module, "none"));
	EXPECT(0, call("cuModuleGetFunction", &function, module, "atomics"));
	EXPECT(1, call("cuFuncSetAttribute", function, 8, 232449));
	char args[32] = {};
	void *params[] = {args};
	for (unsigned threads : {0u, 1025u})
		EXPECT(1, call("cuLaunchKernel", function, 1u, 1u, 1u, threads, 1u, 1u, 0u, stream, (void **)params,
		               (void **)nullptr));
	EXPECT(1, call("cuLaunchKernel", function, 1u, 65536u, 1u, 1u, 1u, 1u, 0u, stream, (void **)params,
	               (void **)nullptr));
	EXPECT(1, call("cuLaunchKernel", function, 1u, 1u, 1u, 1u, 1u, 1u, (48u << 10) + 1, stream,
	               (void **)params, (void **)nullptr));
	EXPECT(1, call("cuLaunchKernel", function, 1u, 1u, 1u, 1u, 1u, 1u, 0u, stream, (void **)nullptr,
	               (void **)nullptr));

	// Launches with attributes: programmatic stream serialization (6) is known, a cooperative launch (2)
	// is not.
	struct {
		int id;
		alignas(8) int value[16];
	} attribute = {6, {1}};
	struct {
		unsigned grid[3], block[3], dynamic;
		void *stream, *attributes;
		unsigned count;
	} config = {{1, 1, 1}, {1, 1, 1}, 0, stream, &attribute, 1};
	EXPECT(0, call("cuStreamBeginCapture_v2", stream, 0));
	EXPECT(0, call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr));
	EXPECT(0, call("cuStreamEndCapture", stream, &graph));
	EXPECT(0, call("cuGraphDestroy", graph));
	setenv("PHI3_EMULATOR", "devices=2;memory=1048576;refuse-overlap=1", 1);
	EXPECT(0, call("cuStreamBeginCapture_v2", stream, 0));
	EXPECT(900, call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr));
	EXPECT(901, call("cuStreamEndCapture", stream, &graph));
	attribute.value[0] = 0; // not dependent
	EXPECT(0, call("cuStreamBeginCapture_v2", stream, 0));
	EXPECT(0, call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr));
	EXPECT(0, call("cuStreamEndCapture", stream, &graph));
	EXPECT(0, call("cuGraphDestroy", graph));
	setenv("PHI3_EMULATOR", "devices=2;memory=1048576", 1);
	attribute.value[0] = 2;
	EXPECT(1, call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr));
	attribute.id = 2, attribute.value[0] = 1;
	EXPECT(1, call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr));
	config.count = 0, config.dynamic = (48 << 10) + 1;
	EXPECT(1, call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr));

	// A fault is the answer to everything, until the context is gone.
	setenv("PHI3_EMULATOR", "fault=atomics", 1);
	EXPECT(0, call("cuLaunchKernel", function, 1u, 1u, 1u, 1u, 1u, 1u, 0u, stream, (void **)params,
	               (void **)nullptr));
	EXPECT(700, call("cuStreamSynchronize", stream));
	EXPECT(700, call("cuMemAlloc_v2", &a, (size_t)8));
	EXPECT(0, call("cuDevicePrimaryCtxRelease_v2", 0));
	EXPECT(201, call("cuCtxSynchronize"));
	EXPECT(0, call("cuDevicePrimaryCtxRetain", &context, 0));
	EXPECT(0, call("cuCtxSetCurrent", context));
	EXPECT(0, call("cuMemAlloc_v2", &a, (size_t)8));
	setenv("PHI3_EMULATOR", "no-such-setting=1", 1);
	EXPECT(1, call("cuMemAlloc_v2", &a, (size_t)8));
	return wrong != 0;
}
