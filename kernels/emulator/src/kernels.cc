// Every kernel of phi3, compiled for the CPU. A checked build compiles this file, and files of kernels that a test adds, with
// -fsanitize=thread, and nothing else.
#include "../../phi3.cu"
#include "register.h"

static const emulator::Register registered = {PHI3_KERNELS(REGISTER_KERNEL)};
