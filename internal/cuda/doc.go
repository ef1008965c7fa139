// Package cuda runs the model on an NVIDIA GPU.
//
// # From a verb to the driver
//
// A verb of the backend appends [launch] records to a queue: a kernel, a grid, and the kernel's arguments
// inline. Read hands the whole queue to the driver in one cgo call (launchAll), or replays it as a graph
// (graphs.go). All of that happens on one goroutine, which owns the GPU's context and an operating system
// thread ([device]); memory, streams, events and modules are gorgonia.org/cu's, launches and graphs and a few
// more our own (supplement.go). Either ends in a C function of the driver API, such as cuLaunchKernel;
// forward.c defines all of them, as jumps into the libcuda.so.1 that was loaded when a GPU was first asked
// for.
//
// # One program for every machine
//
// A program linked with -lcuda, as gorgonia.org/cu asks, does not start where there is no NVIDIA driver; and
// gorgonia.org/cu exits there by itself, because it calls cuInit when the program starts. So
//
//   - forward.c defines every driver function that is called anywhere in the program, and answers that first
//     cuInit with success. forward_list.h lists the functions; go generate writes it from the sources of
//     gorgonia.org/cu and of this package.
//   - stub/libcuda.a is an empty archive, for the linker to find under -lcuda. With every function defined
//     already, nothing is missing from it, and --as-needed drops a real libcuda.so found instead of it.
//   - the driver is loaded by name with dlopen, from $PHI3_LIBCUDA where that is set: the tests set it to the
//     emulator.
//
// No other package may import gorgonia.org/cu, or the linker could see its -lcuda without ours.
//
// # Building
//
// Build tag cuda, on Linux, with cgo. gorgonia.org/cu includes <cuda.h>. include/cuda.h is ours and suffices;
// it has to come before the directories that gorgonia.org/cu names, /usr/local/cuda/include among them.
// CGO_CPPFLAGS does that: the go command puts it before the flags of every package. (CGO_CFLAGS would too,
// but setting it drops the default -g -O2; CPATH would not, the compiler looks there last.) Go's cache does
// not know what a header contains, so a checksum of it goes into the flags:
//
//	include=$PWD/internal/cuda/include
//	export CGO_CPPFLAGS="-I$include -DPHI3_CUDA_H=$(cksum <$include/cuda.h | cut -d' ' -f1)"
//	go build -tags cuda ./cmd/phi3
//
// Without CGO_CPPFLAGS the build takes the cuda.h of a CUDA toolkit, 11.8 or 12. CUDA 13 gave five functions
// new signatures under the old names, which gorgonia.org/cu does not compile against; include/cuda13 in front
// of its headers takes that back:
//
//	CGO_CPPFLAGS="-I$PWD/internal/cuda/include/cuda13 -I/usr/local/cuda/include" go build -tags cuda ./cmd/phi3
package cuda
