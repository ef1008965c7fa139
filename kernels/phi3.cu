// All kernels as one translation unit: one module for the driver.
#include "args.h"
