// Runs a launch, block after block, on one thread of the operating system. Each thread of a block is a
// fiber with its own stack. A fiber yields only when it waits for others. For x86-64.
#include "emulator.h"
#include <cstdarg>
#include <cstdio>
#include <map>
#include <sys/mman.h>

__thread uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {

Block *block;
const Checks *checks;

namespace {

constexpr unsigned THREADS_MAX = 1024;
constexpr size_t PAGE = 4096, STACK = 17 * PAGE; // a stack with the guard page below it

struct SharedObject {
	const void *type;
	size_t offset;
};

Block the_block;
const Launch *launch;
Report *report;
std::vector<SharedObject> shared_objects;
char *stacks;         // THREADS_MAX of them
unsigned fibers_made; // this many have a stack, on which fiber_main waits for the next block
void *main_sp;
uint32_t serials, launch_serial;
uint64_t random_state;
Status status;

// Saves the callee-saved registers and the stack pointer, and restores those of another stack.
__attribute__((naked, noipa)) void switch_stack(void ** /* save */, void * /* load */)
{
	asm("pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15; movq %rsp, (%rdi)\n"
	    "movq %rsi, %rsp; popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}

void resume(void **save, unsigned fiber)
{
	block->current = fiber;
	threadIdx = block->fibers[fiber].index;
	switch_stack(save, block->fibers[fiber].sp);
}

// The thread to run next, or -1 if none can run. Every order stays with a warp as long as it can run,
// because a missing barrier shows when one warp runs far ahead.
int pick()
{
	static unsigned favourite, first_lane, backward; // for RANDOM, changed now and then
	const unsigned warps = (unsigned)block->warps.size();
	unsigned w = block->current / 32, back = launch->order.kind == Order::REVERSE, lane = 0;
	if (launch->order.kind == Order::FAVOUR)
		w = (unsigned)(launch->order.number % warps);
	if (launch->order.kind == Order::RANDOM) {
		uint64_t r = random_bits();
		if (r % 256 == 0)
			favourite = r >> 8 & 31, first_lane = r >> 16 & 31, backward = r >> 24 & 1;
		w = favourite % warps, back = backward, lane = first_lane;
	}
	for (unsigned i = 0; i < warps; i++) {
		if (uint32_t ready = block->warps[w].ready) {
			uint32_t turned = lane ? ready >> lane | ready << (32 - lane) : ready;
			unsigned l = back ? 31 - (unsigned)__builtin_clz(turned) : (unsigned)__builtin_ctz(turned);
			return (int)(w * 32 + (l + lane) % 32);
		}
		w = back ? (w ? w : warps) - 1 : w + 1 == warps ? 0 : w + 1;
	}
	return -1;
}

[[noreturn]] void leave()
{
	fibers_made = 0; // the fibers are stopped in the middle of a kernel
	void *dead;
	switch_stack(&dead, main_sp);
	__builtin_unreachable();
}

[[noreturn]] void deadlock()
{
	std::map<std::string, int> places;
	int first = -1;
	for (unsigned f = 0; f < block->threads; f++) {
		Warp &w = block->warps[f / 32];
		uint32_t bit = 1u << f % 32;
		if (!(w.live & bit))
			continue;
		first = first < 0 ? (int)f : first;
		bool barrier = block->at_barrier[f / 32] & bit;
		Site at = barrier ? block->barrier : w.lane[f % 32].site;
		const char *what = barrier ? "__syncthreads" : w.lane[f % 32].what;
		places[std::string(what) + " at " + base_name(at.file) + ":" + std::to_string(at.line)]++;
	}
	std::string s;
	for (auto &[place, threads] : places)
		s += (s.empty() ? "" : ", ") + std::to_string(threads) + " wait in " + place;
	block->current = (unsigned)first;
	fail(LAUNCH_TIMEOUT, "deadlock: of %u threads %s, %u have ended", block->threads, s.c_str(),
	     block->threads - block->live);
}

// The running thread waits; another one runs.
void yield()
{
	const unsigned self = block->current;
	const uint32_t ready = block->warp().ready;
	const bool simple = launch->order.kind == Order::FORWARD && ready; // a faster way to pick()'s result
	const int next = simple ? (int)(self & ~31u) + __builtin_ctz(ready) : pick();
	if (next < 0)
		deadlock();
	if ((unsigned)next != self)
		resume(&block->fibers[self].sp, (unsigned)next);
}

bool same(const Waiting &a, const Waiting &b)
{
	return a.mask == b.mask && a.site.line == b.site.line && a.what == b.what;
}

// Lets the lanes continue that wait for the same as this lane, if all of them have arrived.
bool complete(Warp &w, unsigned lane)
{
	const Waiting &mine = w.lane[lane];
	uint32_t lanes = mine.mask & w.live;
	if ((w.waiting & lanes) != lanes)
		return false;
	for (uint32_t rest = w.agreed ? 0 : lanes; rest; rest &= rest - 1) {
		const Waiting &other = w.lane[__builtin_ctz(rest)];
		if (!same(other, mine))
			fail(LAUNCH_FAILED,
			     "divergent warp: lane %u is in %s at %s:%d with mask %08x, lane %d in %s at %s:%d with mask "
			     "%08x",
			     lane, mine.what, base_name(mine.site.file), mine.site.line, mine.mask, __builtin_ctz(rest),
			     other.what, base_name(other.site.file), other.site.line, other.mask);
	}
	mine.run(w, lanes);
	w.waiting &= ~lanes, w.ready |= lanes;
	return true;
}

void open_barrier()
{
	for (size_t i = 0; i < block->warps.size(); i++)
		block->warps[i].ready |= block->at_barrier[i], block->at_barrier[i] = 0;
	block->arrived = 0, block->epoch++;
}

// A fiber runs one thread of every block, block after block.
void fiber_main()
{
	for (;;) {
		launch->kernel->call(launch->args);
		Warp &w = block->warp();
		w.live &= ~block->bit(), w.ready &= ~block->bit(), block->live--;
		// The others of the warp or of the block may have waited only for this thread.
		for (uint32_t rest = w.waiting; rest; rest &= rest - 1)
			if (complete(w, (unsigned)__builtin_ctz(rest)))
				break;
		if (block->arrived && block->arrived == block->live)
			open_barrier();
		if (block->live)
			yield();
		else
			switch_stack(&block->fiber().sp, main_sp);
	}
}

// Gives the launch's threads their stacks and indices.
bool prepare(const Launch &l)
{
	if (!stacks) {
		void *p = mmap(nullptr, THREADS_MAX * STACK, PROT_READ | PROT_WRITE,
		               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		void *shared = mmap(nullptr, SHARED_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED || shared == MAP_FAILED)
			return false;
		stacks = (char *)p, the_block.shared = (unsigned char *)shared;
		for (unsigned i = 0; i < THREADS_MAX; i++)
			mprotect(stacks + i * STACK, PAGE, PROT_NONE);
		the_block.fibers.resize(THREADS_MAX);
	}
	Block &b = the_block;
	b.threads = l.block.x * l.block.y * l.block.z;
	b.warps.resize((b.threads + 31) / 32);
	b.at_barrier.assign(b.warps.size(), 0);
	for (unsigned t = 0; t < b.threads; t++)
		b.fibers[t].index = {t % l.block.x, t / l.block.x % l.block.y, t / l.block.x / l.block.y};
	for (; fibers_made < b.threads; fibers_made++) {
		// The tops of the stacks are staggered, because otherwise all fibers would use the same few sets
		// of the cache.
		void **sp = (void **)(stacks + (fibers_made + 1) * STACK - fibers_made * 17 % 32 * 64);
		*--sp = nullptr;
		*--sp = (void *)fiber_main;
		for (int i = 0; i < 6; i++)
			*--sp = nullptr;
		b.fibers[fibers_made].sp = sp;
	}
	return true;
}

void run_block()
{
	Block &b = the_block;
	b.serial = ++serials, b.index = block_index(b.serial);
	b.live = b.threads, b.epoch = 0, b.arrived = 0;
	for (unsigned w = 0; w < b.warps.size(); w++) {
		unsigned lanes = b.threads - w * 32;
		b.warps[w].live = b.warps[w].ready = lanes < 32 ? (1u << lanes) - 1 : ~0u;
		b.warps[w].waiting = b.warps[w].epoch = b.at_barrier[w] = 0;
	}
	if (launch->order.copies != Order::EARLY || checks)
		for (unsigned t = 0; t < b.threads; t++)
			b.fibers[t].group = 0, b.fibers[t].copies.clear();
	memset(b.shared, 0xff, b.shared_used); // NaNs
	b.current = launch->order.kind == Order::REVERSE ? b.threads - 1 : 0;
	block = &b, blockIdx = b.index;
	resume(&main_sp, (unsigned)pick());
	block = nullptr;
}

} // namespace

Status run(const Launch &l, Report *r)
{
	if (!prepare(l))
		return r->fault = "the emulator cannot map its threads' memory", LAUNCH_FAILED;
	launch = &l, report = r, blockDim = l.block, gridDim = l.grid, status = OK;
	random_state = l.order.number * 0x9e3779b97f4a7c15 + 88172645463325252;
	launch_serial = serials + 1;
	shared_objects.clear();
	the_block.shared_used = l.dynamic_shared;
	const size_t blocks = (size_t)l.grid.x * l.grid.y * l.grid.z;
	for (size_t i = 0; i < blocks && status == OK; i++)
		run_block();
	launch = nullptr, report = nullptr;
	return status;
}

void fail(Status why, const char *format, ...)
{
	char s[1200];
	uint3 b = block->index, t = block->fiber().index;
	int n = snprintf(s, sizeof s, "%s: block (%u,%u,%u) thread (%u,%u,%u): ", launch->kernel->name, b.x, b.y,
	                 b.z, t.x, t.y, t.z);
	va_list ap;
	va_start(ap, format);
	vsnprintf(s + n, sizeof s - (size_t)n, format, ap);
	va_end(ap);
	report->fault = s, status = why;
	leave();
}

void collective(const char *what, uint32_t mask, Site site, Collective run)
{
	Warp &w = block->warp();
	if (!(mask & block->bit()))
		fail(LAUNCH_FAILED, "wrong mask: %s at %s:%d with mask %08x, which lacks the thread's own lane", what,
		     base_name(site.file), site.line, mask);
	unsigned lane = block->current % 32;
	w.lane[lane] = {what, mask, site, run};
	if (!w.waiting)
		w.agreed = true, w.first = lane;
	else if (w.agreed)
		w.agreed = same(w.lane[lane], w.lane[w.first]);
	w.waiting |= block->bit(), w.ready &= ~block->bit();
	if (!complete(w, lane))
		yield();
}

void warp_sync(unsigned mask, Site site)
{
	// This is the only collective of a warp that orders memory.
	collective("__syncwarp", mask, site, [](Warp &w, uint32_t) { w.epoch++; });
}

void block_sync(Site site)
{
	if (block->arrived && (block->barrier.line != site.line || strcmp(block->barrier.file, site.file)))
		fail(LAUNCH_FAILED, "divergent barrier: this thread is in __syncthreads at %s:%d, another at %s:%d",
		     base_name(site.file), site.line, base_name(block->barrier.file), block->barrier.line);
	block->barrier = site, block->arrived++;
	block->at_barrier[block->current / 32] |= block->bit(), block->warp().ready &= ~block->bit();
	if (block->arrived == block->live)
		open_barrier();
	else
		yield();
}

uint64_t shuffle(const char *what, unsigned mask, uint64_t value, int source, Site site)
{
	Warp &w = block->warp();
	const unsigned lane = block->current % 32;
	w.value[lane] = value, w.source[lane] = source;
	collective(what, mask, site, [](Warp &w, uint32_t lanes) {
		uint64_t value[32];
		memcpy(value, w.value, sizeof value);
		for (uint32_t rest = lanes; rest; rest &= rest - 1) {
			const int lane = __builtin_ctz(rest), source = w.source[lane];
			if (!(lanes >> source & 1)) {
				const Waiting &at = w.lane[lane];
				block->current = block->current / 32 * 32 + (unsigned)lane;
				fail(LAUNCH_FAILED,
				     "wrong mask: %s at %s:%d with mask %08x reads lane %d, which takes no part", at.what,
				     base_name(at.site.file), at.site.line, at.mask, source);
			}
			w.value[lane] = value[source];
		}
	});
	return w.value[lane];
}

unsigned ballot(const char *what, unsigned mask, bool vote, Site site)
{
	Warp &w = block->warp();
	const unsigned lane = block->current % 32;
	w.value[lane] = vote;
	collective(what, mask, site, [](Warp &w, uint32_t lanes) {
		uint32_t votes = 0;
		for (uint32_t rest = lanes; rest; rest &= rest - 1)
			votes |= (uint32_t)w.value[__builtin_ctz(rest)] << __builtin_ctz(rest);
		for (uint32_t rest = lanes; rest; rest &= rest - 1)
			w.value[__builtin_ctz(rest)] = votes;
	});
	return (unsigned)w.value[lane];
}

void fence()
{
	if (checks)
		checks->fence();
}

void touch_atomic(void *p, size_t size, const void *caller)
{
	if (checks)
		checks->atomic(p, size, caller);
}

void *shared_object(const void *type, size_t size, size_t align, Site site)
{
	for (const SharedObject &o : shared_objects)
		if (o.type == type)
			return block->shared + o.offset;
	size_t offset = (block->shared_used + align - 1) / align * align;
	if (offset + size > SHARED_MAX || offset + size - launch->dynamic_shared > STATIC_SHARED_MAX)
		fail(LAUNCH_FAILED,
		     "too much shared memory at %s:%d: %zu bytes static, at most %zu, and %u dynamic, at most %zu in "
		     "all",
		     base_name(site.file), site.line, offset + size - launch->dynamic_shared, STATIC_SHARED_MAX,
		     launch->dynamic_shared, SHARED_MAX);
	block->shared_used = offset + size;
	shared_objects.push_back({type, offset});
	memset(block->shared + offset, 0xff, size);
	return block->shared + offset;
}

unsigned char *dynamic_shared()
{
	return block->shared;
}

bool on_fiber_stack(const void *p)
{
	return stacks && (const char *)p >= stacks && (const char *)p < stacks + THREADS_MAX * STACK;
}

const Launch &current_launch()
{
	return *launch;
}

Report &current_report()
{
	return *report;
}

uint32_t first_serial()
{
	return launch_serial;
}

// RANDOM takes every 7919th block and wraps around. 7919 is a prime, so this reaches every block unless
// 7919 divides their number.
uint3 block_index(uint32_t serial)
{
	const size_t turn = serial - launch_serial, blocks = (size_t)gridDim.x * gridDim.y * gridDim.z;
	size_t number = turn;
	if (launch->order.kind == Order::REVERSE)
		number = blocks - 1 - turn;
	if (launch->order.kind == Order::RANDOM && blocks % 7919)
		number = (launch->order.number + turn * 7919) % blocks;
	return {(unsigned)(number % gridDim.x), (unsigned)(number / gridDim.x % gridDim.y),
	        (unsigned)(number / gridDim.x / gridDim.y)};
}

uint64_t random_bits()
{
	random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
	return random_state;
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

} // namespace emulator
