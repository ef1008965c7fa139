// Package emulator runs the kernels without a GPU. It compiles them with g++ into a replacement for
// libcuda.so, under which the CUDA backend works unchanged. It is for tests.
//
// [Build] returns the library's path, for $PHI3_LIBCUDA. There are two kinds. [Fast] runs whole small models.
// [Checked] watches every load and store of a kernel, and reports
//
//   - accesses that are out of bounds or misaligned
//   - reads of memory, shared or global, that was not written since it was allocated, or since cuMemsetD8
//     filled it with 0xff
//   - data races: two threads access the same bytes, one of them writes, and there is no barrier between them
//     in the block, or no __threadfence, atomic operation and __threadfence between blocks
//   - bytes of a cp.async that are used before they are waited for
//   - in a dependent launch, see below: reads before wait_for_predecessor of memory that a launch writes that
//     may not have ended, and any write of global memory before it
//
// Both kinds report divergent barriers and warps, deadlocks, wrong masks, prefetches that are out of bounds,
// and threads of a dependent launch that end without wait_for_predecessor. A report is the driver's
// error, in the text of cuGetErrorString. It names the kernel, block, thread and source lines, and at the
// end the order in which the threads ran, so that it can be run again.
//
// The library has phi3's kernels. A test can add kernels as [Extra]: its own, or those of files that are
// not part of the program. They are compiled in the same way, and cuModuleGetFunction finds them by name
// in any module.
//
// Work on a stream runs only when the program synchronizes with it. Copies from pinned memory read the memory
// at that time.
//
// # Dependent launches
//
// A launch with the attribute of programmatic stream serialization is dependent, also in a graph. On a
// GPU it may begin when every block of the launch before has called launch_dependents or ended, and its
// threads wait in wait_for_predecessor until the launch before has ended. If the threads of that one
// called launch_dependents before they waited themselves, the launch before it may not have ended either,
// and so on. A copy, a memset, an event and the beginning of a graph end such a chain: the launch after
// them begins when everything before has ended.
//
// Here some blocks of a dependent launch run up to their wait before the launch before does anything, if
// the GPU could do that, and the rest of the blocks after it, as the order says. So a read that comes too
// early has an old result in a fast build too. A checked build reports it in every order, with both
// lines:
//
//	KERNEL: block … thread …: race at byte …: written by OTHER block … at FILE:LINE; read by … at FILE:LINE;
//	KERNEL has not waited for the end of the other launch
//
// # What it computes
//
// mma has the bits of NVIDIA's tensor cores, those of Ampere and Ada or those of Hopper and Blackwell,
// according to a published description (src/mma.cc). No GPU has confirmed it yet; the conformance tests
// of internal/cuda compare. Conversions round as a GPU does. exp2_approx is the C library's exp2f, whose
// bits may differ from those of a GPU's ex2.approx.
//
// # Settings
//
// $PHI3_EMULATOR sets the device's properties and the faults to cause. Settings are key=value, separated by
// semicolons. They are read again whenever they matter, so that a test can change them while it runs.
//
//	devices=1             how many there are
//	sms=4                 multiprocessors
//	compute=9.0           compute capability; it decides how tensor cores add: as Ampere (8.x) or as Hopper
//	shared=232448         most dynamic shared memory that a kernel can be allowed, in bytes
//	memory=8589934592     of each device, in bytes
//	free=…                free bytes of it at first; default: all
//	fail-alloc=N          the Nth cuMemAlloc in a context fails
//	fault=KERNEL          this kernel makes an illegal access
//	jit-ms=N              the driver takes N milliseconds to compile PTX
//	refuse-native=1       native code comes from a compiler that is newer than the driver
//	refuse-overlap=1      a stream that is being captured refuses dependent launches
//	jit-error=…           modules do not compile; the rest of the settings is the compiler's log
//	log=FILE              what the driver does is appended to the file, see below
//	order=…               of threads and blocks: forward, reverse, favour:WARP (it runs whenever it can) or
//	                      random:SEED. Default: a fast build takes forward, a checked build each in turn,
//	                      launch by launch
//	early=…               blocks of a dependent launch that begin before the launch before has ended: none,
//	                      some or most, of those that the device can hold, at most 24. Default: none with
//	                      order=forward, most with order=reverse, otherwise some; most in a fast build
//	                      without an order
//	copies=…              the bytes of a cp.async arrive early (at once), late (when waited for) or either.
//	                      Default: early with order=forward, late with order=reverse, otherwise either
//
// # The log
//
// With log=FILE the driver appends a line for each of these. A call of the program is logged when the program
// makes it. Work on a stream is logged when the device does it, which is later, but in the stream's order.
//
//	launch KERNEL             a kernel begins, also in a graph; "launch KERNEL overlap" if the launch is
//	                          dependent. Blocks of it may have begun earlier.
//	prefetch KERNEL BYTES     that kernel has ended; so much all its threads asked for with prefetch_l2
//	to-device BYTES           a copy; also to-host and on-device
//	memset BYTES
//	graph N                   call: cuGraphLaunch of a graph of N launches, copies and memsets
//	record                    call: cuEventRecord
//	wait-event                call: cuStreamWaitEvent
//	sync-stream               call: cuStreamSynchronize; also sync-event and sync-context
//	sync-copy                 call: a copy that the program waits for, because it is a synchronous one or
//	                          not from or to pinned memory
//	query-stream              call: cuStreamQuery; also query-event
//
// # The code
//
// src/device.h defines CUDA's words on the CPU. src/emulator.h lists the other files.
package emulator
