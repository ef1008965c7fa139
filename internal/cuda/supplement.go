//go:build cuda && linux && cgo

package cuda

/*
#include <cuda.h>
#include <stdint.h>

#cgo noescape launch_all
#cgo nocallback launch_all
#cgo noescape launch_graph
#cgo nocallback launch_graph

typedef struct {
	uintptr_t function; // a CUfunction, as a number: Go need not look for pointers in a queue of launches
	uint32_t grid[3], block, shared, size;
	_Alignas(16) char args[256];
} launch;

// Puts the queue on the stream. On an error, *failed is the index of the launch that was refused.
static CUresult launch_all(CUstream stream, const launch *queue, size_t n, size_t *failed)
{
	for (size_t i = 0; i < n; i++) {
		const launch *l = &queue[i];
		void *params[] = {(void *)l->args}; // every kernel takes one struct; the driver copies it
		CUresult r = cuLaunchKernel((CUfunction)l->function, l->grid[0], l->grid[1], l->grid[2], l->block, 1, 1, l->shared, stream, params, NULL);
		if (r != CUDA_SUCCESS) {
			*failed = i;
			return r;
		}
	}
	return CUDA_SUCCESS;
}

// Makes a graph of the queue. On an error, *op is the function that failed.
static CUresult capture(CUstream stream, const launch *queue, size_t n, size_t *failed, CUgraphExec *exec, const char **op)
{
	*op = "cuStreamBeginCapture";
	CUresult r = cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
	if (r != CUDA_SUCCESS)
		return r;
	*op = "cuLaunchKernel";
	r = launch_all(stream, queue, n, failed);
	CUgraph graph = NULL;
	CUresult ended = cuStreamEndCapture(stream, &graph);
	if (r == CUDA_SUCCESS && ended != CUDA_SUCCESS) {
		*op = "cuStreamEndCapture";
		r = ended;
	}
	if (r == CUDA_SUCCESS) {
		*op = "cuGraphInstantiate";
		r = cuGraphInstantiateWithFlags(exec, graph, 0); // the one form whose type is the same from CUDA 11.4 on
	}
	if (graph)
		cuGraphDestroy(graph);
	return r;
}

static CUresult launch_graph(CUgraphExec exec, CUstream stream)
{
	return cuGraphLaunch(exec, stream);
}

static CUresult load_module(CUmodule *module, const void *image, char *log, uintptr_t size)
{
	CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {log, (void *)size};
	return cuModuleLoadDataEx(module, image, 2, options, values);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// What gorgonia.org/cu lacks or does badly: launches without an allocation each and with arguments of any size, graphs from streams,
// pinned memory, the log of a failed module, more than 48 KB of shared memory.

// The handles of gorgonia.org/cu are structs of one unexported pointer, and cgo gives every package types of its own, so a handle
// crosses by reading that pointer. These arrays have a negative length, and do not compile, where the sizes differ.
type (
	_ [unsafe.Sizeof(cu.Module{}) - unsafe.Sizeof(C.CUmodule(nil))]byte
	_ [unsafe.Sizeof(C.CUmodule(nil)) - unsafe.Sizeof(cu.Module{})]byte
	_ [unsafe.Sizeof(cu.Function{}) - unsafe.Sizeof(C.CUfunction(nil))]byte
	_ [unsafe.Sizeof(C.CUfunction(nil)) - unsafe.Sizeof(cu.Function{})]byte
	_ [unsafe.Sizeof(function(0)) - unsafe.Sizeof(C.CUfunction(nil))]byte
	_ [unsafe.Sizeof(C.CUfunction(nil)) - unsafe.Sizeof(function(0))]byte
)

const maxSharedOptIn = cu.DeviceAttribute(C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)

// function is a kernel of a loaded module.
type function uintptr

// launch is one launch of a kernel, laid out as in C above. Launches with equal bytes do the same.
type launch struct {
	function function
	grid     [3]uint32
	block    uint32 // threads
	shared   uint32 // bytes of dynamic shared memory
	size     uint32 // bytes of args that count; the rest are 0
	args     [256]byte
}

// Go's layout of launch is C's: likewise.
type (
	_ [unsafe.Sizeof(launch{}) - unsafe.Sizeof(C.launch{})]byte
	_ [unsafe.Sizeof(C.launch{}) - unsafe.Sizeof(launch{})]byte
	_ [unsafe.Offsetof(launch{}.args) - unsafe.Offsetof(C.launch{}.args)]byte
	_ [unsafe.Offsetof(C.launch{}.args) - unsafe.Offsetof(launch{}.args)]byte
)

// loadModule loads PTX, a cubin or a fatbin.
func (d *device) loadModule(image []byte) (cu.Module, error) {
	if len(image) == 0 {
		return cu.Module{}, errors.New("no compiled kernels to load")
	}
	p := C.malloc(C.size_t(len(image) + 1)) // C's memory: aligned as a fatbin has to be, and PTX ends with a 0
	defer C.free(p)
	copied := unsafe.Slice((*byte)(p), len(image)+1)
	copied[copy(copied, image)] = 0
	const logSize = 16 << 10
	log := (*C.char)(C.calloc(1, logSize))
	defer C.free(unsafe.Pointer(log))
	var m C.CUmodule
	if err := checkResult("cuModuleLoadDataEx", C.load_module(&m, p, log, logSize)); err != nil {
		if text := strings.TrimSpace(C.GoString(log)); text != "" {
			err = fmt.Errorf("%w\n%s", err, text)
		}
		return cu.Module{}, err
	}
	module := *(*cu.Module)(unsafe.Pointer(&m))
	d.own(module, func() error { return check("cuModuleUnload", module.Unload()) })
	return module, nil
}

// function finds a kernel by name.
func (d *device) function(m cu.Module, name string) (function, error) {
	f, err := m.Function(name)
	if err != nil {
		return 0, check("kernel "+name+": cuModuleGetFunction", err)
	}
	return *(*function)(unsafe.Pointer(&f)), nil
}

// allowShared lets a kernel be launched with up to size bytes of dynamic shared memory. Without it 48 KB are the most.
func (d *device) allowShared(f function, size int) error {
	return checkResult(fmt.Sprintf("%d bytes of shared memory: cuFuncSetAttribute", size),
		C.cuFuncSetAttribute(f.c(), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(size)))
}

// binaryVersion is the attribute that tells for which architecture a kernel's code is: 10·major + minor.
const binaryVersion = C.CU_FUNC_ATTRIBUTE_BINARY_VERSION

// attribute is a property of a loaded kernel.
func (f function) attribute(which C.CUfunction_attribute) (int, error) {
	var value C.int
	err := checkResult("cuFuncGetAttribute", C.cuFuncGetAttribute(&value, which, f.c()))
	return int(value), err
}

func (f function) c() C.CUfunction {
	return *(*C.CUfunction)(unsafe.Pointer(&f))
}

func memHostAlloc(size int) (unsafe.Pointer, error) {
	var p unsafe.Pointer
	err := checkResult(fmt.Sprintf("cuMemHostAlloc of %d bytes", size), C.cuMemHostAlloc(&p, C.size_t(size), 0))
	return p, err
}

func streamC(s cu.Stream) C.CUstream {
	return C.CUstream(unsafe.Pointer(s.C()))
}

// launchError names the launch of a queue that was refused.
func launchError(op string, r C.CUresult, i C.size_t, queue []launch) error {
	l := &queue[i]
	return checkResult(fmt.Sprintf("launch %d of %d (grid %v, %d threads, %d bytes of shared memory): %s",
		i, len(queue), l.grid, l.block, l.shared, op), r)
}

// launchAll puts the queue on the stream.
func (d *device) launchAll(s cu.Stream, queue []launch) error {
	if len(queue) == 0 {
		return nil
	}
	var failed C.size_t
	if r := C.launch_all(streamC(s), (*C.launch)(unsafe.Pointer(&queue[0])), C.size_t(len(queue)), &failed); r != C.CUDA_SUCCESS {
		return launchError("cuLaunchKernel", r, failed, queue)
	}
	return nil
}

// graph is a queue of launches that the GPU starts by itself.
type graph struct {
	exec C.CUgraphExec
}

// capture makes a graph of the queue without running it.
func (d *device) capture(s cu.Stream, queue []launch) (graph, error) {
	if len(queue) == 0 {
		return graph{}, errors.New("a graph of no launches")
	}
	var g graph
	var failed C.size_t
	var op *C.char
	r := C.capture(streamC(s), (*C.launch)(unsafe.Pointer(&queue[0])), C.size_t(len(queue)), &failed, &g.exec, &op)
	if r != C.CUDA_SUCCESS {
		return graph{}, launchError(C.GoString(op), r, failed, queue)
	}
	d.own(g, func() error { return checkResult("cuGraphExecDestroy", C.cuGraphExecDestroy(g.exec)) })
	return g, nil
}

// launchGraph puts the graph's launches on the stream.
func (d *device) launchGraph(s cu.Stream, g graph) error {
	if r := C.launch_graph(g.exec, streamC(s)); r != C.CUDA_SUCCESS {
		return checkResult("cuGraphLaunch", r)
	}
	return nil
}
