// Device memory. Every allocation has its own pages, with an inaccessible page after them, and is filled
// with NaNs.
#include "emulator.h"
#include <map>
#include <sys/mman.h>

namespace emulator {

namespace {

constexpr size_t PAGE = 4096;
std::map<uintptr_t, Allocation> allocations; // by address

size_t whole_pages(size_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

} // namespace

void *allocate(size_t bytes)
{
	size_t mapped = whole_pages(bytes);
	char *p =
		(char *)mmap(nullptr, mapped + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return nullptr;
	mprotect(p + mapped, PAGE, PROT_NONE);
	memset(p, 0xff, mapped);
	allocations[(uintptr_t)p] = {(uintptr_t)p, bytes, nullptr};
	return p;
}

bool release(void *p)
{
	auto it = allocations.find((uintptr_t)p);
	if (it == allocations.end())
		return false;
	if (checks)
		checks->forget(&it->second);
	munmap(p, whole_pages(it->second.size) + PAGE);
	allocations.erase(it);
	return true;
}

Allocation *allocation_at(uintptr_t address)
{
	auto it = allocations.upper_bound(address);
	return it == allocations.begin() ? nullptr : &(--it)->second;
}

bool on_device(const void *p, size_t bytes)
{
	const Allocation *a = allocation_at((uintptr_t)p);
	size_t offset = a ? (uintptr_t)p - a->start : 0;
	return a && offset <= a->size && bytes <= a->size - offset;
}

} // namespace emulator
