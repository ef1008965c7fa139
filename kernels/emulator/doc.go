// Package emulator runs the kernels without a GPU: it compiles them with g++ into a stand-in for libcuda.so,
// under which the CUDA backend works unchanged. It is for tests.
//
// [Build] gives the library's path, for $PHI3_LIBCUDA. There are two kinds. [Fast] runs whole small models.
// [Checked] watches every load and store of a kernel, and reports
//
//   - accesses out of bounds or misaligned
//   - reads of memory, shared or global, that nothing has written since it was allocated, or since cuMemsetD8 filled it with 0xff
//   - data races: two threads at the same bytes, one writing, and no barrier between them in the block, or between blocks no
//     __threadfence, atomic operation and __threadfence; and cp.async's bytes used before they are waited for
//
// Both report divergent barriers and warps, deadlocks and wrong masks. A report comes as the driver's error,
// in the words of cuGetErrorString, and tells kernel, block, thread and source lines; the order that threads
// ran in is told last, to run it again.
//
// The library has phi3's kernels. A test adds others, its own or those of files that are not part of the
// program, as [Extra]: they are compiled in the same way, and cuModuleGetFunction finds them by name in any
// module.
//
// Work on a stream waits until something synchronises, and copies read pinned memory only then.
//
// # What it computes
//
// mma has the bits of NVIDIA's tensor cores, those of Ampere and Ada or those of Hopper and Blackwell, after
// a published description (src/mma.cc). No chip has confirmed it yet; the conformance tests of internal/cuda
// ask one. Conversions round as a GPU's do. exp2_approx is the C library's exp2f, whose bits may differ from
// those of a GPU's ex2.approx.
//
// # Settings
//
// $PHI3_EMULATOR says what the device is like and which faults to provoke: settings key=value, separated by
// semicolons, read anew whenever they matter, so that a test can change them while it runs.
//
//	devices=1             how many there are
//	sms=4                 multiprocessors
//	compute=9.0           compute capability; it decides how tensor cores add, as Ampere (8.x) or as Hopper
//	shared=232448         most dynamic shared memory a kernel can be allowed, bytes
//	memory=8589934592     of each device, bytes
//	free=…                of it at first, bytes; else all
//	fail-alloc=N          the Nth cuMemAlloc since the context was made finds no memory
//	fault=KERNEL          this kernel commits an illegal access
//	jit-ms=N              the driver takes so many milliseconds to compile PTX
//	refuse-native=1       native code is of a compiler newer than the driver
//	jit-error=…           modules do not compile, and this is the compiler's log, to the end of the settings
//	order=…               of threads and blocks: forward, reverse, favour:WARP (it goes ahead whenever it can), random:SEED. Without
//	                      it a fast build takes forward and a checked build all of them in turn, launch by launch
//	copies=…              cp.async's bytes arrive early (at once), late (when waited for), or either; else as the order has it: forward
//	                      early, reverse late
//
// # The code
//
// src/device.h gives CUDA's words their meaning on the CPU; src/emulator.h is the map of the rest.
package emulator
