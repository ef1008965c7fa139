// Runs one kernel of testdata/ through the driver, for the tests:
//
//   run LIBCUDA KERNEL GRID BLOCK DYNAMIC_SHARED OUT_WORDS LAUNCHES [x Y]
//
// Input and output are arrays of 32-bit words on standard input and standard output. scratch is 64 words
// of zeros. If the driver reports an error, it is printed on standard error and the exit status is 1.
#include "args.h"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
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

int main(int argc, char **argv)
{
	if (argc != 8 || !(library = dlopen(argv[1], RTLD_NOW)))
		return fprintf(stderr, "usage, or %s\n", dlerror()), 2;
	const unsigned grid = (unsigned)atoi(argv[3]), block = (unsigned)atoi(argv[4]),
				   dynamic = (unsigned)atoi(argv[5]);
	std::vector<uint32_t> in, out((size_t)atoi(argv[6])), zeros(64);
	for (uint32_t word; fread(&word, 4, 1, stdin);)
		in.push_back(word);

	void *context, *module, *function;
	call("cuInit", 0u);
	call("cuDevicePrimaryCtxRetain", &context, 0);
	call("cuCtxSetCurrent", context);
	call("cuModuleLoadData", &module, (const void *)"image");
	call("cuModuleGetFunction", &function, module, (const char *)argv[2]);
	call("cuFuncSetAttribute", function, 8, 200 << 10);
	TestArgs args = {};
	call("cuMemAlloc_v2", (unsigned long long *)&args.in, in.size() * 4);
	call("cuMemAlloc_v2", (unsigned long long *)&args.out, out.size() * 4);
	call("cuMemAlloc_v2", (unsigned long long *)&args.scratch, zeros.size() * 4);
	call("cuMemcpyHtoD_v2", (unsigned long long)args.in, (const void *)in.data(), in.size() * 4);
	call("cuMemcpyHtoD_v2", (unsigned long long)args.scratch, (const void *)zeros.data(), zeros.size() * 4);
	args.n = (int)in.size();
	void *params[] = {&args};
	for (int i = 0; i < atoi(argv[7]); i++)
		call("cuLaunchKernel", function, grid, 1u, 1u, block, 1u, 1u, dynamic, (void *)nullptr,
		     (void **)params, (void **)nullptr);
	call("cuMemcpyDtoH_v2", (void *)out.data(), (unsigned long long)args.out, out.size() * 4);
	return fwrite(out.data(), 4, out.size(), stdout) == out.size() ? 0 : 2;
}
