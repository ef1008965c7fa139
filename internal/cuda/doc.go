// Package cuda runs the model on an NVIDIA GPU.
//
// # From a verb to the driver
//
// A verb of the backend appends [launch] records to a queue: a kernel, a grid, and the kernel's arguments
// inline. Read passes the whole queue to the driver in one cgo call (launchAll), or replays it as a graph
// (graphs.go). All of this happens on one goroutine, which owns the GPU's context and an operating system
// thread ([device]). gorgonia.org/cu provides memory, streams, events and modules; supplement.go provides
// launches, graphs and a few more functions. Both call C functions of the driver API, such as
// cuLaunchKernel. forward.c defines these as jumps into libcuda.so.1, which is loaded when a GPU is first
// needed.
//
// # One program for every machine
//
// A program linked with -lcuda, as gorgonia.org/cu requests, does not start on a machine without an NVIDIA
// driver. Also, gorgonia.org/cu calls cuInit when the program starts, and exits if the call fails. Therefore:
//
//   - forward.c defines every driver function that the program calls, and its cuInit succeeds. forward_list.h
//     lists the functions; go generate writes it from the sources of gorgonia.org/cu and of this package.
//   - stub/libcuda.a is an empty archive that the linker finds under -lcuda. No symbol is missing, because
//     forward.c defines them all. If the linker finds a real libcuda.so instead, --as-needed drops it.
//   - the driver is loaded by name with dlopen, or from $PHI3_LIBCUDA, which the tests set to the emulator.
//
// No other package may import gorgonia.org/cu, because the linker could then see its -lcuda without our
// flags.
//
// # Building
//
// The package needs the build tag cuda, Linux and cgo. gorgonia.org/cu includes <cuda.h>. Our
// include/cuda.h is enough, but must come before the directories that gorgonia.org/cu names, such as
// /usr/local/cuda/include. CGO_CPPFLAGS does this: the go command puts it before the flags of every
// package. (CGO_CFLAGS would too, but setting it drops the default -g -O2. The compiler searches CPATH
// last.) Go's cache does not look into headers, so the flags include a checksum of it:
//
//	include=$PWD/internal/cuda/include
//	export CGO_CPPFLAGS="-I$include -DPHI3_CUDA_H=$(cksum <$include/cuda.h | cut -d' ' -f1)"
//	go build -tags cuda ./cmd/phi3
//
// Without CGO_CPPFLAGS the build uses the cuda.h of a CUDA toolkit, 11.8 or 12. CUDA 13 changed the
// signatures of five functions, and gorgonia.org/cu does not compile with them. include/cuda13, placed
// before its headers, restores the old ones:
//
//	export CGO_CPPFLAGS="-I$PWD/internal/cuda/include/cuda13 -I/usr/local/cuda/include"
//	go build -tags cuda ./cmd/phi3
package cuda
