// Devices, contexts and errors.
#include "driver.h"
#include <cstdio>

namespace emulator {

std::mutex driver_mutex;

namespace {

bool initialized;
std::map<int, std::unique_ptr<Context>> contexts; // by device
thread_local Context *current_context;

struct ErrorName {
	int code;
	const char *name, *text;
};
const ErrorName error_names[] = {
	{OK, "CUDA_SUCCESS", "no error"},
	{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
	{NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
	{INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
	 "no kernel image is available for execution on the device"},
	{INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
	{INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
	{ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
	{MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
	{LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
	 "operation not permitted when stream is capturing"},
	{CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
	 "operation failed due to a previous error during capture"},
	{CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not begun in this stream"},
	{CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
	 "operation would make the legacy stream depend on a capturing blocking stream"},
};
std::map<int, std::string> details; // by code, of the last error

const ErrorName *find_error(int code)
{
	for (const ErrorName &e : error_names)
		if (e.code == code)
			return &e;
	return nullptr;
}

int check_device(int device)
{
	if (!initialized)
		return error(NOT_INITIALIZED, "cuInit was not called");
	if (device < 0 || device >= settings().devices)
		return error(INVALID_DEVICE,
		             "device " + std::to_string(device) + " of " + std::to_string(settings().devices));
	return OK;
}

int attribute(int which)
{
	const Settings &s = settings();
	switch (which) {
	case 1: case 2: case 3: return 1024; // threads in a block, in x, in y
	case 4: return 64;                   // in z
	case 5: return 0x7fffffff;           // blocks in x
	case 6: case 7: return 65535;        // in y, z
	case 8: return 48 << 10;             // shared memory of a block without leave for more
	case 10: return warpSize;
	case 12: case 82: return 65536;      // registers of a block, of an SM
	case 13: return 1980000;             // clock, kHz
	case 16: return s.sms;
	case 36: return 2619000;             // memory clock, kHz
	case 37: return 5120;                // memory bus, bits
	case 38: return 50 << 20;            // L2 cache
	case 39: return 2048;                // threads of an SM
	case 41: return 1;                   // unified addressing
	case 75: return s.major;
	case 76: return s.minor;
	case 81: return (int)s.shared + 1024; // shared memory of an SM
	case 97: return (int)s.shared;
	default: return 0;
	}
}

} // namespace

int error(int code, const std::string &detail)
{
	details[code] = detail;
	return code;
}

Context *current(int *status)
{
	*status = !initialized ? error(NOT_INITIALIZED, "cuInit was not called")
	          : !settings().error.empty() ? error(INVALID_VALUE, settings().error)
	          : !current_context ? error(INVALID_CONTEXT, "this thread has no current context")
	          : !current_context->retained ? error(INVALID_CONTEXT, "the context was released")
	                                       : current_context->sticky;
	return *status == OK ? current_context : nullptr;
}

} // namespace emulator

using namespace emulator;

API cuInit(unsigned flags)
{
	LOCK;
	if (!settings().error.empty())
		return error(INVALID_VALUE, settings().error);
	if (flags)
		return error(INVALID_VALUE, "cuInit takes no flags");
	if (settings().devices == 0)
		return NO_DEVICE;
	initialized = true;
	return OK;
}

API cuDriverGetVersion(int *version)
{
	*version = 12040;
	return OK;
}

API cuGetErrorString(int code, const char **text)
{
	LOCK;
	static std::map<int, std::string> texts; // kept: the caller gets a pointer
	const ErrorName *e = find_error(code);
	*text = nullptr;
	if (!e)
		return INVALID_VALUE;
	const std::string &detail = details[code];
	*text = (texts[code] = detail.empty() ? e->text : std::string(e->text) + ": " + detail).c_str();
	return OK;
}

API cuGetErrorName(int code, const char **name)
{
	const ErrorName *e = find_error(code);
	*name = e ? e->name : nullptr;
	return e ? OK : INVALID_VALUE;
}

API cuDeviceGetCount(int *n)
{
	LOCK;
	if (!initialized)
		return error(NOT_INITIALIZED, "cuInit was not called");
	*n = settings().devices;
	return OK;
}

API cuDeviceGet(int *device, int ordinal)
{
	LOCK;
	if (int e = check_device(ordinal))
		return e;
	*device = ordinal;
	return OK;
}

API cuDeviceGetName(char *name, int size, int device)
{
	LOCK;
	if (int e = check_device(device))
		return e;
	snprintf(name, (size_t)size, "emulator %d", device);
	return OK;
}

API cuDeviceGetUuid(char *uuid, int device)
{
	LOCK;
	if (int e = check_device(device))
		return e;
	memset(uuid, 0, 16);
	uuid[15] = (char)(device + 1);
	return OK;
}

API cuDeviceGetUuid_v2(char *uuid, int device)
{
	return cuDeviceGetUuid(uuid, device);
}

API cuDeviceTotalMem_v2(size_t *bytes, int device)
{
	LOCK;
	if (int e = check_device(device))
		return e;
	*bytes = settings().memory;
	return OK;
}

API cuDeviceGetAttribute(int *value, int which, int device)
{
	LOCK;
	if (int e = check_device(device))
		return e;
	*value = attribute(which);
	return OK;
}

API cuDevicePrimaryCtxRetain(void **handle, int device)
{
	LOCK;
	if (int e = check_device(device))
		return e;
	std::unique_ptr<Context> &c = contexts[device];
	if (!c)
		c = std::make_unique<Context>();
	if (!c->retained++) {
		c->device = device;
		c->streams[0] = std::make_unique<Stream>();
		c->streams[0]->context = c.get(), c->streams[0]->blocking = true;
	}
	*handle = c.get();
	return OK;
}

API cuDevicePrimaryCtxRelease_v2(int device)
{
	LOCK;
	if (int e = check_device(device))
		return e;
	Context *c = contexts[device].get();
	if (!c || !c->retained)
		return error(INVALID_CONTEXT, "the device's context is not retained");
	if (--c->retained)
		return OK;
	finish_all(c);
	destroy_memory(c);
	c->streams.clear();
	c->sticky = OK, c->allocations = 0;
	return OK;
}

API cuCtxSetCurrent(void *handle)
{
	LOCK;
	for (auto &[device, c] : contexts)
		if (c.get() == handle && c->retained)
			return current_context = c.get(), OK;
	current_context = nullptr;
	return handle ? error(INVALID_CONTEXT, "cuCtxSetCurrent: no such context") : OK;
}

API cuCtxGetCurrent(void **handle)
{
	LOCK;
	if (!initialized)
		return error(NOT_INITIALIZED, "cuInit was not called");
	*handle = current_context;
	return OK;
}

API cuCtxSynchronize()
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	if (capturing(c))
		return error(CAPTURE_UNSUPPORTED, "cuCtxSynchronize");
	log("sync-context");
	return finish_all(c);
}
