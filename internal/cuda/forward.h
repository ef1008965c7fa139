#pragma once
#include <stddef.h>

// Loads the driver from the shared library at path and points the forwarders at it, once in the life of a process: NULL, or why not.
// The answer stays valid until the next call of a dl function by this thread.
const char *forward_load(const char *path);

// The driver's own cuInit(0), after forward_load.
int forward_init(void);
