//go:build cuda && linux

// Defines the functions of the driver API as jumps through a table. The executable then has every symbol
// that gorgonia.org/cu and this package use, and needs no libcuda.so.1 to be linked or to start. A jump
// leaves the arguments unchanged, whatever the function's type. The symbols are hidden, because otherwise
// libcuda's calls of its own functions could come back here.
#define _GNU_SOURCE
#include "forward.h"
#include <dlfcn.h>

#define HIDDEN __attribute__((visibility("hidden")))

static int not_initialized(void)
{
	return 3; // CUDA_ERROR_NOT_INITIALIZED: called before forward_load
}

static int not_supported(void)
{
	return 801; // CUDA_ERROR_NOT_SUPPORTED: this driver does not have the function
}

static const char *const names[] = {
#define X(i, name) #name,
#include "forward_list.h"
#undef X
};

enum { COUNT = sizeof names / sizeof names[0] };

HIDDEN void *forward_table[COUNT] = {
#define X(i, name) (void *)not_initialized,
#include "forward_list.h"
#undef X
};

#if defined(__x86_64__)
#define JUMP(i) "\tjmp *forward_table+8*" #i "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(i)                                        \
	"\tadrp x16, forward_table+8*" #i "\n"             \
	"\tldr x16, [x16, #:lo12:forward_table+8*" #i "]\n" \
	"\tbr x16\n"
#else
#error "forward.c has no forwarders for this processor"
#endif

#define X(i, name)                      \
	__asm__(".text\n"                   \
	        ".p2align 4\n"              \
	        ".globl " #name "\n"        \
	        ".hidden " #name "\n"       \
	        ".type " #name ", %function\n" \
	        #name ":\n" JUMP(i)         \
	        ".size " #name ", . - " #name "\n");
#include "forward_list.h"
#undef X

// gorgonia.org/cu calls cuInit when the program starts, and exits if it fails. So this one succeeds, and
// the driver is loaded only when a GPU is needed.
HIDDEN int cuInit(unsigned int flags)
{
	(void)flags;
	return 0;
}

static int (*driver_init)(unsigned int);

const char *forward_load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return dlerror();
	driver_init = (int (*)(unsigned int))dlsym(library, "cuInit");
	if (!driver_init)
		return dlerror();
	for (int i = 0; i < COUNT; i++) {
		void *function = dlsym(library, names[i]);
		forward_table[i] = function ? function : (void *)not_supported;
	}
	return NULL;
}

int forward_init(void)
{
	return driver_init(0);
}
