// Every kernel of phi3, compiled for the CPU. A checked build compiles only this file, and the files of
// kernels that a test adds, with -fsanitize=thread.
#include "../../phi3.cu"
#include "register.h"

static const emulator::Register registered = {PHI3_KERNELS(REGISTER_KERNEL)};
