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
	uintptr_t function; // a CUfunction, as a number, so that Go does not scan a queue for pointers
	uint32_t grid[3], block, shared, size, flags, weights, waits;
	_Alignas(16) char args[256];
} launch;

// Bits of launch.flags.
enum {
	LAUNCH_OVERLAP = 1,     // programmatic dependent launch: may start before the previous launch ends
	LAUNCH_COOPERATIVE = 2, // all blocks run at the same time, or the driver refuses the launch
};

static CUresult launch_one(CUstream stream, const launch *l)
{
	void *params[] = {(void *)l->args}; // every kernel takes one struct; the driver copies it
	CUfunction function = (CUfunction)l->function;
	if (!l->flags)
		return cuLaunchKernel(function, l->grid[0], l->grid[1], l->grid[2], l->block, 1, 1, l->shared, stream,
			params, NULL);
	CUlaunchAttribute attributes[2];
	unsigned int n = 0;
	if (l->flags & LAUNCH_OVERLAP)
		attributes[n++] = (CUlaunchAttribute){
			.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
			.value = {.programmaticStreamSerializationAllowed = 1}};
	if (l->flags & LAUNCH_COOPERATIVE)
		attributes[n++] = (CUlaunchAttribute){
			.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value = {.cooperative = 1}};
	CUlaunchConfig config = {l->grid[0], l->grid[1], l->grid[2], l->block, 1, 1, l->shared, stream,
		attributes, n};
	return cuLaunchKernelEx(&config, function, params, NULL);
}

// Puts the queue on the stream. On an error, *failed is the index of the launch that was refused.
static CUresult launch_all(CUstream stream, const launch *queue, size_t n, size_t *failed)
{
	for (size_t i = 0; i < n; i++) {
		CUresult r = launch_one(stream, &queue[i]);
		if (r != CUDA_SUCCESS) {
			*failed = i;
			return r;
		}
	}
	return CUDA_SUCCESS;
}

// Makes a graph of the queue. On an error, *op is the function that failed.
static CUresult capture(
	CUstream stream, const launch *queue, size_t n, size_t *failed, CUgraphExec *exec, const char **op)
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
		// Of the functions that do this, only this one has had the same type since CUDA 11.4.
		r = cuGraphInstantiateWithFlags(exec, graph, 0);
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

// This file has what gorgonia.org/cu lacks: launches that do not allocate and take arguments of any size,
// graphs captured from streams, pinned memory, the log of a module that fails to load, and more than 48
// KB of shared memory.

// A handle of gorgonia.org/cu is a struct with one unexported pointer, and cgo types differ between
// packages. So this package converts a handle by reinterpreting its memory. If the sizes differed, one of
// these arrays would have a negative length and not compile.
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

// launch is one launch of a kernel, with the layout of the C struct above. Launches with equal bytes do
// the same.
type launch struct {
	function function
	grid     [3]uint32
	block    uint32 // threads
	shared   uint32 // bytes of dynamic shared memory
	size     uint32 // bytes of args that count; the rest are 0
	flags    uint32 // launchOverlap, launchCooperative
	weights  uint32 // of a decode or batch product: bytes of its matrix; for other kernels 0
	waits    uint32 // 1 if the kernel waits for its predecessor
	_        uint32
	args     [256]byte
}

const (
	launchOverlap     = C.LAUNCH_OVERLAP     // may start before the previous launch ends
	launchCooperative = C.LAUNCH_COOPERATIVE // all blocks run at the same time, or the driver refuses
)

// These do not compile unless Go and C lay launch out in the same way.
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
	// malloc aligns the image as a fatbin requires, and PTX must end with a 0.
	p := C.malloc(C.size_t(len(image) + 1))
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

// allowShared allows launches of a kernel with up to size bytes of dynamic shared memory. The default
// limit is 48 KB. It also asks to use all of a multiprocessor's memory as shared memory and none as L1
// cache. Otherwise the driver may choose a split in which only one block fits where two or more could
// run.
func (d *device) allowShared(f function, size int) error {
	err := checkResult(fmt.Sprintf("%d bytes of shared memory: cuFuncSetAttribute", size),
		C.cuFuncSetAttribute(f.c(), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(size)))
	if err != nil {
		return err
	}
	return d.preferShared(f, 100)
}

// residentBlocks is how many blocks of a kernel a multiprocessor runs at once. A larger grid would run in
// waves, and the last wave would leave multiprocessors idle.
func (d *device) residentBlocks(f function, threads, shared int) (int, error) {
	n, err := (*cu.Function)(unsafe.Pointer(&f)).MaxActiveBlocksPerMultiProcessor(threads, int64(shared))
	return n, check("cuOccupancyMaxActiveBlocksPerMultiprocessor", err)
}

// preferShared asks for a share of a multiprocessor's memory, in percent, as shared memory for the kernel;
// the rest is L1 cache. -1 leaves the choice to the driver.
func (d *device) preferShared(f function, percent int) error {
	return checkResult(fmt.Sprintf("%d %% as shared memory: cuFuncSetAttribute", percent),
		C.cuFuncSetAttribute(f.c(), C.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, C.int(percent)))
}

func (f function) c() C.CUfunction {
	return *(*C.CUfunction)(unsafe.Pointer(&f))
}

func memHostAlloc(size int) (unsafe.Pointer, error) {
	var p unsafe.Pointer
	err := checkResult(fmt.Sprintf("cuMemHostAlloc of %d bytes", size),
		C.cuMemHostAlloc(&p, C.size_t(size), 0))
	return p, err
}

func streamC(s cu.Stream) C.CUstream {
	return C.CUstream(unsafe.Pointer(s.C()))
}

// launchError names the launch of a queue that was refused.
func launchError(op string, r C.CUresult, i C.size_t, queue []launch) error {
	l := &queue[i]
	if l.flags != 0 && op == "cuLaunchKernel" {
		op = "cuLaunchKernelEx"
	}
	return checkResult(fmt.Sprintf("launch %d of %d (grid %v, %d threads, %d bytes of shared memory): %s",
		i, len(queue), l.grid, l.block, l.shared, op), r)
}

// launchAll puts the queue on the stream.
func (d *device) launchAll(s cu.Stream, queue []launch) error {
	if len(queue) == 0 {
		return nil
	}
	var failed C.size_t
	if r := C.launch_all(streamC(s), (*C.launch)(unsafe.Pointer(&queue[0])), C.size_t(len(queue)),
		&failed); r != C.CUDA_SUCCESS {
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
	r := C.capture(streamC(s), (*C.launch)(unsafe.Pointer(&queue[0])), C.size_t(len(queue)), &failed, &g.exec,
		&op)
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
