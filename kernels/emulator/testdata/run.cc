// Runs kernels of testdata/ through the driver, for the tests:
//
//   run LIBCUDA KERNELS GRID BLOCK DYNAMIC_SHARED OUT_WORDS TIMES stream|graph
//
// KERNELS are names with commas between. + after a name makes the launch dependent. "memset" is a memset
// of no bytes. They run so many times, launched on a stream or captured in a graph.
//
// Input and output are arrays of 32-bit words on standard input and standard output. scratch is 64 words
// of zeros. If the driver reports an error, it is printed on standard error and the exit status is 1.
#include "args.h"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <string>
#include <vector>

static void *library;

template <class... T> static void call(const char *function, T... args)
{
	int code = ((int (*)(T...))dlsym(library, function))(args...);
	if (!code)
		return;
	const char *text;
	((int (*)(int, const char **))dlsym(library, "cuGetErrorString"))(code, &text);
	fprintf(stderr, "%s: %s\n", function, text);
	exit(1);
}

struct Sizes {
	unsigned grid, block, dynamic;
};

static void launch(void *module, std::string name, Sizes s, TestArgs args, void *stream)
{
	if (name == "memset")
		return call("cuMemsetD8Async", (unsigned long long)args.out, (unsigned char)0, (size_t)0, stream);
	const bool dependent = name.back() == '+';
	if (dependent)
		name.pop_back();
	void *function, *params[] = {&args};
	call("cuModuleGetFunction", &function, module, name.c_str());
	call("cuFuncSetAttribute", function, 8, 200 << 10);
	if (!dependent)
		return call("cuLaunchKernel", function, s.grid, 1u, 1u, s.block, 1u, 1u, s.dynamic, stream,
		            (void **)params, (void **)nullptr);
	struct {
		int id;
		alignas(8) int value[16];
	} attribute = {6, {1}};
	struct {
		unsigned grid[3], block[3], dynamic;
		void *stream, *attributes;
		unsigned count;
	} config = {{s.grid, 1, 1}, {s.block, 1, 1}, s.dynamic, stream, &attribute, 1};
	call("cuLaunchKernelEx", (const void *)&config, function, (void **)params, (void **)nullptr);
}

static void launch_all(void *module, const std::string &names, Sizes s, const TestArgs &args, void *stream)
{
	for (size_t at = 0, end; at < names.size(); at = end + 1) {
		end = std::min(names.find(',', at), names.size());
		launch(module, names.substr(at, end - at), s, args, stream);
	}
}

int main(int argc, char **argv)
{
	if (argc != 9 || !(library = dlopen(argv[1], RTLD_NOW)))
		return fprintf(stderr, "usage, or %s\n", dlerror()), 2;
	const Sizes sizes = {(unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]), (unsigned)atoi(argv[5])};
	const std::string kernels = argv[2];
	const int times = atoi(argv[7]);
	std::vector<uint32_t> in, out((size_t)atoi(argv[6])), zeros(64);
	for (uint32_t word; fread(&word, 4, 1, stdin);)
		in.push_back(word);

	void *context, *module, *stream, *graph, *executable;
	call("cuInit", 0u);
	call("cuDevicePrimaryCtxRetain", &context, 0);
	call("cuCtxSetCurrent", context);
	call("cuModuleLoadData", &module, (const void *)"image");
	call("cuStreamCreate", &stream, 1u);
	TestArgs args = {};
	call("cuMemAlloc_v2", (unsigned long long *)&args.in, in.size() * 4);
	call("cuMemAlloc_v2", (unsigned long long *)&args.out, out.size() * 4);
	call("cuMemAlloc_v2", (unsigned long long *)&args.scratch, zeros.size() * 4);
	call("cuMemcpyHtoD_v2", (unsigned long long)args.in, (const void *)in.data(), in.size() * 4);
	call("cuMemcpyHtoD_v2", (unsigned long long)args.scratch, (const void *)zeros.data(), zeros.size() * 4);
	args.n = (int)in.size();
	if (argv[8] == std::string("graph")) {
		call("cuStreamBeginCapture_v2", stream, 0);
		launch_all(module, kernels, sizes, args, stream);
		call("cuStreamEndCapture", stream, &graph);
		call("cuGraphInstantiateWithFlags", &executable, graph, 0ull);
		for (int i = 0; i < times; i++)
			call("cuGraphLaunch", executable, stream);
	} else
		for (int i = 0; i < times; i++)
			launch_all(module, kernels, sizes, args, stream);
	call("cuStreamSynchronize", stream);
	call("cuMemcpyDtoH_v2", (void *)out.data(), (unsigned long long)args.out, out.size() * 4);
	return fwrite(out.data(), 4, out.size(), stdout) == out.size() ? 0 : 2;
}
