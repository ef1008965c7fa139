// Allocations and copies.
#include "driver.h"
#include <cstdlib>

namespace emulator {

namespace {

std::map<uintptr_t, size_t> pinned; // host memory from the driver, and its sizes

constexpr size_t GRANULE = 512; // cuMemAlloc rounds up to a multiple of it

size_t free_memory(const Context *c)
{
	const Settings &s = settings();
	const size_t at_first = s.free < s.memory ? s.free : s.memory;
	return at_first > c->used ? at_first - c->used : 0;
}

// Whether the host's memory at p is pinned. If only a part of the range is, *status is an error.
bool is_pinned(const void *p, size_t bytes, int *status)
{
	*status = OK;
	auto it = pinned.upper_bound((uintptr_t)p);
	if (it == pinned.begin())
		return false;
	--it;
	const size_t offset = (uintptr_t)p - it->first;
	if (offset >= it->second)
		return false;
	if (bytes > it->second - offset)
		*status = error(INVALID_VALUE, std::to_string(bytes) + " bytes from byte " + std::to_string(offset) +
		                                   " of a pinned buffer of " + std::to_string(it->second));
	return true;
}

int check_range(const char *what, const void *p, size_t bytes)
{
	if (on_device(p, bytes))
		return OK;
	const Allocation *a = allocation_at((uintptr_t)p);
	const size_t offset = a ? (uintptr_t)p - a->start : 0;
	if (a && offset <= a->size)
		return error(INVALID_VALUE, std::string(what) + ": " + std::to_string(bytes) + " bytes from byte " +
		                                std::to_string(offset) + " of an allocation of " +
		                                std::to_string(a->size));
	return error(INVALID_VALUE, std::string(what) + ": not in an allocation");
}

enum Side { HOST, DEVICE_SIDE };

struct Transfer {
	void *to;
	const void *from;
	size_t bytes;
	Side to_side, from_side;
};

int check(const Transfer &t)
{
	if (t.to_side == DEVICE_SIDE)
		if (int e = check_range("destination of a copy", t.to, t.bytes))
			return e;
	return t.from_side == DEVICE_SIDE ? check_range("source of a copy", t.from, t.bytes) : OK;
}

int perform(const Transfer &t)
{
	if (check(t)) // freed since
		return error(ILLEGAL_ADDRESS, "a copy of memory that was freed before its turn came");
	log("%s %zu",
	    t.from_side == HOST ? "to-device" : t.to_side == HOST ? "to-host" : "on-device", t.bytes);
	memmove(t.to, t.from, t.bytes);
	if (checks && t.to_side == DEVICE_SIDE) {
		if (t.from_side == DEVICE_SIDE)
			checks->host_moved(t.to, t.from, t.bytes);
		else
			checks->host_wrote(t.to, t.bytes);
	}
	return OK;
}

// A copy from or to pageable memory is done when the call returns, as with the real driver. One from or
// to pinned memory waits for its turn.
int copy_async(const Transfer &t, void *stream)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Stream *s = find_stream(c, stream);
	if (!s)
		return error(INVALID_HANDLE, "copy: no such stream");
	if ((status = check(t)))
		return status;
	const bool late = (t.to_side == DEVICE_SIDE || is_pinned(t.to, t.bytes, &status)) &&
	                  (t.from_side == DEVICE_SIDE || is_pinned(t.from, t.bytes, &status));
	if (status)
		return status;
	if (!late && !s->capture && t.from_side == HOST) {
		const char *from = (const char *)t.from;
		std::vector<char> staged(from, from + t.bytes);
		return enqueue(s, [t, staged = std::move(staged)] {
			return perform({t.to, staged.data(), t.bytes, t.to_side, HOST});
		});
	}
	status = enqueue(s, [t] { return perform(t); });
	if (status || late || s->capture)
		return status;
	log("sync-copy");
	return finish(s);
}

int copy(const Transfer &t)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Stream *s = c->streams[0].get();
	if ((status = check(t)) || (status = enqueue(s, [t] { return perform(t); })))
		return status;
	log("sync-copy");
	return finish(s);
}

template <class T> int fill(Address to, T value, size_t count, void *stream)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	Stream *s = find_stream(c, stream);
	if (!s)
		return error(INVALID_HANDLE, "memset: no such stream");
	if (to % sizeof(T))
		return error(INVALID_VALUE, "memset: misaligned");
	if ((status = check_range("memset", (void *)to, count * sizeof(T))))
		return status;
	return enqueue(s, [=] {
		if (!on_device((void *)to, count * sizeof(T)))
			return error(ILLEGAL_ADDRESS, "a memset of memory that was freed before its turn came");
		log("memset %zu", count * sizeof(T));
		for (size_t i = 0; i < count; i++)
			((T *)to)[i] = value;
		if (checks && sizeof(T) == 1 &&
		    value == (T)0xff) // tests do this to memory that a kernel has to write
			checks->poisoned((void *)to, count);
		else if (checks)
			checks->host_wrote((void *)to, count * sizeof(T));
		return (int)OK;
	});
}

} // namespace

void destroy_memory(Context *c)
{
	for (auto &[address, bytes] : c->memory)
		release((void *)address);
	c->memory.clear();
	c->used = 0;
}

} // namespace emulator

using namespace emulator;

API cuMemGetInfo_v2(size_t *free, size_t *total)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	*free = free_memory(c), *total = settings().memory;
	return OK;
}

API cuMemAlloc_v2(Address *address, size_t bytes)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	if (capturing(c))
		return error(CAPTURE_UNSUPPORTED, "cuMemAlloc");
	if (!bytes)
		return error(INVALID_VALUE, "cuMemAlloc of 0 bytes");
	const size_t taken = (bytes + GRANULE - 1) / GRANULE * GRANULE;
	if (++c->allocations == settings().fail_alloc || taken > free_memory(c))
		return error(OUT_OF_MEMORY, "");
	void *p = allocate(bytes);
	if (!p)
		return error(OUT_OF_MEMORY, "of the host");
	c->memory[(Address)p] = taken, c->used += taken;
	*address = (Address)p;
	return OK;
}

API cuMemFree_v2(Address address)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	if (!address)
		return OK;
	auto it = c->memory.find(address);
	if (it == c->memory.end())
		return error(INVALID_VALUE, "cuMemFree: not the start of an allocation");
	status = finish_all(c);
	c->used -= it->second;
	c->memory.erase(it);
	release((void *)address);
	return status;
}

API cuMemHostAlloc(void **p, size_t bytes, unsigned)
{
	LOCK;
	int status;
	if (!current(&status))
		return status;
	if (!bytes)
		return error(INVALID_VALUE, "cuMemAllocHost of 0 bytes");
	if (!(*p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)))
		return error(OUT_OF_MEMORY, "of the host");
	memset(*p, 0xff, bytes);
	pinned[(uintptr_t)*p] = bytes;
	return OK;
}

API cuMemAllocHost_v2(void **p, size_t bytes)
{
	return cuMemHostAlloc(p, bytes, 0);
}

API cuMemFreeHost(void *p)
{
	LOCK;
	int status;
	Context *c = current(&status);
	if (!c)
		return status;
	if (!pinned.erase((uintptr_t)p))
		return error(INVALID_VALUE, "cuMemFreeHost: not the start of pinned memory");
	status = finish_all(c);
	free(p);
	return status;
}

API cuMemcpyHtoD_v2(Address to, const void *from, size_t bytes)
{
	return copy({(void *)to, from, bytes, DEVICE_SIDE, HOST});
}

API cuMemcpyDtoH_v2(void *to, Address from, size_t bytes)
{
	return copy({to, (void *)from, bytes, HOST, DEVICE_SIDE});
}

API cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream)
{
	return copy_async({(void *)to, from, bytes, DEVICE_SIDE, HOST}, stream);
}

API cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream)
{
	return copy_async({to, (void *)from, bytes, HOST, DEVICE_SIDE}, stream);
}

API cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream)
{
	return copy_async({(void *)to, (void *)from, bytes, DEVICE_SIDE, DEVICE_SIDE}, stream);
}

API cuMemsetD8_v2(Address to, unsigned char value, size_t count)
{
	return fill(to, value, count, nullptr);
}

API cuMemsetD8Async(Address to, unsigned char value, size_t count, void *stream)
{
	return fill(to, value, count, stream);
}

API cuMemsetD32Async(Address to, unsigned value, size_t count, void *stream)
{
	return fill(to, value, count, stream);
}
