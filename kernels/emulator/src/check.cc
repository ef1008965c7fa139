// Checks every memory access in a checked build. The kernels are compiled with -fsanitize=thread but not
// linked with ThreadSanitizer, so the calls that the compiler puts before each load and store come to
// this file. Two accesses race if there is no barrier between them, whatever the order in which they ran.
// Accesses of two launches race if the later launch may overlap the earlier one and has not waited for it.
//
// Memory is divided into granules of two bytes. A granule has a bit that says whether it was ever
// written, and a cell that remembers the last write and the last reads.
#include "emulator.h"
#include <algorithm>
#include <cstdio>
#include <dlfcn.h>
#include <map>
#include <sys/mman.h>

extern char _end[] __attribute__((visibility("hidden"))); // the linker's: where the library's variables end

namespace emulator {

namespace {

constexpr size_t GRANULE = 2;

enum Kind : uint8_t {
	PLAIN,
	ATOMIC,
	IN_FLIGHT, // a write by a cp.async that was not waited for
	// Reads since the last barrier: by this thread only, by several lanes of its warp, by several warps.
	ONE,
	LANES,
	WARPS,
};

// When and by which thread. The time is the number of barriers of the block and, within that, of the warp.
struct Access {
	uint32_t serial; // of the block; 0: never
	uint16_t epoch, warp_epoch;
	uint16_t thread;
	Kind kind;
	uint32_t at; // offset of the code that did it
};

struct Cell {
	Access write, read;
};

struct Shadow {
	size_t granules;
	Cell *cells;                  // mapped, zeros at first
	std::vector<uint8_t> written; // one bit for each granule
};

// The running block's shared memory. Cells of earlier blocks have another serial.
Cell *shared_cells()
{
	if (!block->shared_shadow)
		block->shared_shadow = mmap(nullptr, SHARED_MAX / GRANULE * sizeof(Cell), PROT_READ | PROT_WRITE,
		                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return (Cell *)block->shared_shadow;
}

// Between blocks of a launch memory is ordered by a fence and an atomic operation in one block, followed
// by an atomic operation on the same word and a fence in the other.
struct Acquired {
	Access release;  // the other block's fence
	Access atomic;   // this block's atomic operation
	Access fence;    // the same thread's fence after that, if there was one
	uint64_t number; // of the atomic operation, among fences and atomic operations
};
struct Fence {
	Access when;
	uint64_t number;
};
std::map<uintptr_t, std::vector<Access>> released; // in this launch, by the address of the atomic word
std::vector<Acquired> acquired;                    // by the running block
Fence fences[1024];                                // the last one of each thread
uint64_t orderings;                                // fences and atomic operations so far
uint32_t known_launch, known_block;                // the launch and block that the variables above describe

// This library, up to the end of its variables.
const char *code_base;
size_t code_size;

// The source line of a place in a kernel. If it was inlined, also the line of the kernel that it was
// inlined into.
std::string line_of(uint32_t at)
{
	Dl_info d;
	dladdr(code_base, &d);
	char command[4300], line[600];
	// One byte before the return address, which is inside the call.
	snprintf(command, sizeof command, "addr2line -s -i -e '%s' %#x 2>/dev/null", d.dli_fname, at - 1);
	std::vector<std::string> chain;
	if (FILE *p = popen(command, "r")) {
		while (fgets(line, sizeof line, p)) {
			line[strcspn(line, " \n")] = 0;
			if (strncmp(line, "device.h:", 9) && strncmp(line, "kernels.cc:", 11))
				chain.push_back(line);
		}
		pclose(p);
	}
	if (chain.empty())
		return "an unknown line (addr2line is missing)";
	return chain.front() == chain.back() ? chain.front() : chain.front() + " in " + chain.back();
}

Access now(const void *caller)
{
	return {block->serial,
	        (uint16_t)block->epoch,
	        (uint16_t)block->warp().epoch,
	        (uint16_t)block->current,
	        PLAIN,
	        (uint32_t)((const char *)caller - code_base)};
}

// Whether, in one block, a comes before b in every order of threads: because of a barrier, or because the
// thread is the same.
bool precedes(const Access &a, const Access &b)
{
	if (a.epoch != b.epoch)
		return (int16_t)(b.epoch - a.epoch) > 0; // the counts may wrap
	return a.thread == b.thread ||
	       (a.thread / 32 == b.thread / 32 && (int16_t)(b.warp_epoch - a.warp_epoch) > 0);
}

void new_block()
{
	if (known_launch != grid->first)
		known_launch = grid->first, released.clear();
	if (known_block != block->serial)
		known_block = block->serial, acquired.clear();
}

// Whether fences and an atomic word order another block's access before the running thread's.
bool known(const Access &theirs, const Access &mine)
{
	new_block();
	for (const Acquired &a : acquired) {
		if (a.release.serial != theirs.serial || !precedes(theirs, a.release))
			continue;
		if (a.fence.serial && precedes(a.fence, mine))
			return true;
		const Fence &own = fences[mine.thread]; // the reading thread's own fence, after the atomic operation
		if (own.when.serial == mine.serial && own.number > a.number && precedes(a.atomic, own.when))
			return true;
	}
	return false;
}

// The launch, other than the running one, that did an access, if the running thread's launch may overlap it.
// It can also be a later one, of which blocks began early.
const Numbered *overlaps(const Access &a)
{
	if (a.serial < complete_before() || grid->has(a.serial))
		return nullptr;
	for (const Numbered &n : *grid->chain)
		if (n.has(a.serial))
			return &n;
	return nullptr; // of another stream
}

bool races(const Access &before, const Access &mine, bool shared)
{
	if (before.serial < complete_before())
		return false; // or never
	if (before.serial != mine.serial)
		return !shared && (grid->has(before.serial) ? !known(before, mine) : overlaps(before) != nullptr);
	if (before.epoch != mine.epoch)
		return false;
	if (before.kind == WARPS || (before.kind == LANES && before.warp_epoch == mine.warp_epoch))
		return true;
	return !precedes(before, mine);
}

std::string who(const Access &a)
{
	const Numbered *other = overlaps(a);
	const Numbered &n = other ? *other : *grid;
	const dim3 size = n.launch.block;
	const uint3 b = n.index(a.serial);
	char s[100];
	snprintf(s, sizeof s, "block (%u,%u,%u) thread (%u,%u,%u)", b.x, b.y, b.z, a.thread % size.x,
	         a.thread / size.x % size.y, a.thread / size.x / size.y);
	return other ? n.launch.kernel->name + std::string(" ") + s : s;
}

struct Place { // for reports
	bool shared;
	size_t offset, size;
};

std::string where(Place p)
{
	return "byte " + std::to_string(p.offset) +
	       (p.shared ? " of shared memory" : " of a global allocation of " + std::to_string(p.size));
}

[[noreturn]] void race(const char *did, const Access &before, const char *does, const Access &mine, Place p)
{
	const std::string missing =
		before.serial == mine.serial ? "no barrier between"
		: !overlaps(before)          ? "no __threadfence, atomic and __threadfence between"
		                             : (before.serial < mine.serial ? grid->launch.kernel->name
										: overlaps(before)->launch.kernel->name) +
										   std::string(" has not waited for the end of the other launch");
	fail(LAUNCH_FAILED, "race at %s: %s by %s at %s; %s by %s at %s; %s", where(p).c_str(), did,
	     who(before).c_str(), line_of(before.at).c_str(), does, who(mine).c_str(), line_of(mine.at).c_str(),
	     missing.c_str());
}

const char *write_name(const Access &a)
{
	return a.kind == ATOMIC ? "atomically changed" : "written";
}

void in_flight(const Access &write, const char *does, const Access &mine, Place p)
{
	fail(LAUNCH_FAILED, "race at %s: cp.async by %s at %s is in flight; %s by %s at %s", where(p).c_str(),
	     who(write).c_str(), line_of(write.at).c_str(), does, who(mine).c_str(), line_of(mine.at).c_str());
}

void check_read(Cell &c, Access mine, Place p)
{
	if (c.write.kind == IN_FLIGHT && c.write.serial == mine.serial)
		in_flight(c.write, "read", mine, p);
	if (races(c.write, mine, p.shared))
		race(write_name(c.write), c.write, "read", mine, p);
	const Access &last = c.read;
	if (last.serial > mine.serial && !grid->has(last.serial) && overlaps(last))
		return; // a later launch's read stays, because it must not come before a write of this launch
	mine.kind = ONE;
	if (last.serial == mine.serial && last.epoch == mine.epoch) {
		if (last.kind == WARPS || last.thread / 32 != mine.thread / 32)
			mine.kind = WARPS;
		else if (last.warp_epoch == mine.warp_epoch && (last.kind == LANES || last.thread != mine.thread))
			mine.kind = LANES;
	}
	c.read = mine;
}

void check_write(Cell &c, Access mine, Kind kind, Place p)
{
	const char *does = kind == ATOMIC ? "atomically changed" : kind == IN_FLIGHT ? "cp.async" : "written";
	if (c.write.kind == IN_FLIGHT && c.write.serial == mine.serial)
		in_flight(c.write, does, mine, p);
	if (!(kind == ATOMIC && c.write.kind == ATOMIC) && races(c.write, mine, p.shared))
		race(write_name(c.write), c.write, does, mine, p);
	if (races(c.read, mine, p.shared))
		race("read", c.read, does, mine, p);
	mine.kind = kind;
	c.write = mine;
}

Shadow &shadow_of(Allocation *a)
{
	if (!a->shadow) {
		Shadow *s = new Shadow;
		s->granules = (a->size + GRANULE - 1) / GRANULE;
		void *p = mmap(nullptr, s->granules * sizeof(Cell), PROT_READ | PROT_WRITE,
		               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		s->cells = (Cell *)p;
		s->written.resize((s->granules + 7) / 8);
		a->shadow = s;
	}
	return *(Shadow *)a->shadow;
}

bool is_written(const Shadow &s, size_t granule)
{
	return s.written[granule / 8] >> granule % 8 & 1;
}

Allocation *recent[4]; // looked up last

Allocation *find_allocation(uintptr_t p)
{
	for (Allocation *a : recent)
		if (a && p - a->start < a->size)
			return a;
	std::rotate(recent, recent + 3, recent + 4);
	return recent[0] = allocation_at(p);
}

enum Does { READS, WRITES, CHANGES, STARTS_COPY };
const char *const does_names[] = {"read", "write", "atomic", "cp.async"};

void look(const void *p, size_t n, size_t align, Does does, const void *caller)
{
	if (!block || on_fiber_stack(p))
		return; // a local variable
	const uintptr_t a = (uintptr_t)p, shared = (uintptr_t)block->shared;
	const bool is_shared = a - shared < SHARED_MAX;
	if (!is_shared &&
	    (a - (uintptr_t)code_base < code_size || a - (uintptr_t)&threadIdx < sizeof threadIdx ||
	     a - (uintptr_t)&blockIdx < sizeof blockIdx || a - (uintptr_t)grid->args.data() < grid->args.size()))
		return; // of the program, or a parameter
	const Access mine = now(caller);
	if (a % align)
		fail(MISALIGNED_ADDRESS, "misaligned %s of %zu bytes at %s", does_names[does], n,
		     line_of(mine.at).c_str());
	Allocation *allocation = nullptr;
	Shadow *shadow = nullptr;
	Place place = {is_shared, a - shared, block->shared_used};
	if (!is_shared) {
		allocation = find_allocation(a);
		if (!allocation || a - allocation->start >= allocation->size + 4096)
			fail(ILLEGAL_ADDRESS, "%s out of bounds: %p is not in an allocation, at %s", does_names[does], p,
			     line_of(mine.at).c_str());
		shadow = &shadow_of(allocation);
		place = {false, a - allocation->start, allocation->size};
	}
	if (place.offset + n > place.size)
		fail(ILLEGAL_ADDRESS, "%s out of bounds: bytes %zu to %zu of %s of %zu bytes, at %s",
		     does_names[does], place.offset, place.offset + n - 1,
		     is_shared ? "shared memory" : "an allocation", place.size, line_of(mine.at).c_str());
	const bool waits = grid->launch.dependent && !block->fiber().waited;
	if (waits && !is_shared && does != READS)
		fail(LAUNCH_FAILED, "%s of global memory before wait_for_predecessor, at %s", does_names[does],
		     line_of(mine.at).c_str());
	Cell *cells = is_shared ? shared_cells() : shadow->cells;
	for (size_t g = place.offset / GRANULE; g <= (place.offset + n - 1) / GRANULE; g++) {
		const Place at = {is_shared, std::max(g * GRANULE, place.offset), place.size};
		const bool written = is_shared ? cells[g].write.serial == mine.serial : is_written(*shadow, g);
		if (!written && (does == READS || does == CHANGES))
			fail(LAUNCH_FAILED, "%s of unwritten memory%s: %s, at %s", does_names[does],
			     waits ? " before wait_for_predecessor" : "", where(at).c_str(), line_of(mine.at).c_str());
		if (does == READS)
			check_read(cells[g], mine, at);
		else
			check_write(cells[g], mine,
			            does == CHANGES       ? ATOMIC
			            : does == STARTS_COPY ? IN_FLIGHT
			                                  : PLAIN,
			            at);
		if (!is_shared && !written)
			shadow->written[g / 8] |= (uint8_t)(1u << g % 8);
	}
}

// An atomic operation publishes what its thread fenced before, and acquires what others published at the
// same word.
void atomic(const void *p, size_t n, const void *caller)
{
	look(p, n, n, CHANGES, caller);
	if ((uintptr_t)p - (uintptr_t)block->shared < SHARED_MAX)
		return;
	new_block();
	const Access mine = now(caller);
	std::vector<Access> &all = released[(uintptr_t)p];
	orderings++;
	for (const Access &release : all)
		if (release.serial != mine.serial)
			acquired.push_back({release, mine, {}, orderings});
	const Fence &f = fences[mine.thread];
	if (f.when.serial == mine.serial)
		all.push_back(f.when);
}

void fence()
{
	new_block();
	const Access mine = now(code_base);
	fences[mine.thread] = {mine, ++orderings};
	for (Acquired &a : acquired)
		if (a.atomic.thread == mine.thread && !a.fence.serial)
			a.fence = mine;
}

void copy_started(const void *to, const void *caller)
{
	look(to, 16, 16, STARTS_COPY, caller);
}

// After the wait, the bytes count as written by the waiting thread now.
void copy_done(const void *to, const void *caller)
{
	const size_t first = ((uintptr_t)to - (uintptr_t)block->shared) / GRANULE;
	for (size_t g = first; g < first + 16 / GRANULE; g++)
		shared_cells()[g].write = now(caller);
}

void mark(const void *p, size_t n, bool written)
{
	Allocation *a = n ? allocation_at((uintptr_t)p) : nullptr;
	if (!a)
		return;
	Shadow &s = shadow_of(a);
	const size_t first = ((uintptr_t)p - a->start) / GRANULE,
				 last = ((uintptr_t)p - a->start + n - 1) / GRANULE;
	for (size_t g = first; g <= last; g++) {
		const bool byte = g % 8 == 0 && g + 7 <= last;
		const uint8_t bits = byte ? 0xff : (uint8_t)(1u << g % 8);
		s.written[g / 8] = written ? s.written[g / 8] | bits : s.written[g / 8] & ~bits;
		g += byte ? 7 : 0;
	}
}

void moved(const void *to, const void *from, size_t n)
{
	Allocation *a = n ? allocation_at((uintptr_t)to) : nullptr,
			   *b = n ? allocation_at((uintptr_t)from) : nullptr;
	if (!a || !b)
		return;
	Shadow &s = shadow_of(a), &t = shadow_of(b);
	for (size_t i = 0; i < n; i += GRANULE) {
		const size_t g = ((uintptr_t)to - a->start + i) / GRANULE;
		const uint8_t bit = (uint8_t)(1u << g % 8);
		s.written[g / 8] = is_written(t, ((uintptr_t)from - b->start + i) / GRANULE)
		                       ? s.written[g / 8] | bit
		                       : s.written[g / 8] & ~bit;
	}
}

void forget(Allocation *a)
{
	std::fill(recent, recent + 4, nullptr);
	if (Shadow *s = (Shadow *)a->shadow) {
		munmap(s->cells, s->granules * sizeof(Cell));
		delete s;
	}
	a->shadow = nullptr;
}

const Checks all_checks = {
	[](const void *p, size_t n, const void *caller) { look(p, n, 1, READS, caller); },
	atomic,
	fence,
	copy_started,
	copy_done,
	[](const void *p, size_t n) { mark(p, n, true); },
	moved,
	[](void *p, size_t n) { mark(p, n, false); },
	forget,
};

struct Install {
	Install()
	{
		Dl_info d;
		dladdr(this, &d);
		code_base = (const char *)d.dli_fbase, code_size = (size_t)(_end - code_base);
		checks = &all_checks;
	}
} install;

} // namespace
} // namespace emulator

// The functions that -fsanitize=thread calls.
#define CALLER __builtin_return_address(0)
#define HOOKS(n) \
	void __tsan_read##n(void *p) { emulator::look(p, n, n, emulator::READS, CALLER); } \
	void __tsan_write##n(void *p) { emulator::look(p, n, n, emulator::WRITES, CALLER); } \
	void __tsan_unaligned_read##n(void *p) { emulator::look(p, n, 1, emulator::READS, CALLER); } \
	void __tsan_unaligned_write##n(void *p) { emulator::look(p, n, 1, emulator::WRITES, CALLER); }
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void *p, size_t n) { emulator::look(p, n, 1, emulator::READS, CALLER); }
void __tsan_write_range(void *p, size_t n) { emulator::look(p, n, 1, emulator::WRITES, CALLER); }
}
