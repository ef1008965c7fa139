#pragma once
#include <stddef.h>

// Loads the driver from the shared library at path and makes the functions of forward.c jump to it. It
// can be called once in a process. Returns NULL, or an error message that is valid until this thread's
// next call of a dl function.
const char *forward_load(const char *path);

// The driver's own cuInit(0), after forward_load.
int forward_init(void);
