// Runs a block, on one thread of the operating system. Each thread of the block is a fiber with its own
// stack. A fiber yields only when it waits for others. If all of them wait and some for the launch before,
// the block is suspended until that has ended. For x86-64.
#include "emulator.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <sys/mman.h>

__thread uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {

Block *block;
Grid *grid;
const Checks *checks;

namespace {

constexpr unsigned THREADS_MAX = 1024;
constexpr size_t PAGE = 4096, STACK = 17 * PAGE; // a stack with room for a guard page below it

std::vector<Block *> &idle = *new std::vector<Block *>; // kept until the end of the process
void *main_sp;
Status status;

// Saves the callee-saved registers and the stack pointer, and restores those of another stack.
__attribute__((naked, noipa)) void switch_stack(void ** /* save */, void * /* load */)
{
	asm("pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15; movq %rsp, (%rdi)\n"
	    "movq %rsi, %rsp; popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}

void run_fiber(void **save, unsigned fiber)
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
	unsigned w = block->current / 32, back = grid->launch.order.kind == Order::REVERSE, lane = 0;
	if (grid->launch.order.kind == Order::FAVOUR)
		w = (unsigned)(grid->launch.order.number % warps);
	if (grid->launch.order.kind == Order::RANDOM) {
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
	const bool simple = grid->launch.order.kind == Order::FORWARD && ready; // a faster way to pick()'s result
	const int next = simple ? (int)(self & ~31u) + __builtin_ctz(ready) : pick();
	if (next < 0 && !block->held)
		deadlock();
	if (next < 0)
		switch_stack(&block->fibers[self].sp, main_sp); // the block is suspended
	else if ((unsigned)next != self)
		run_fiber(&block->fibers[self].sp, (unsigned)next);
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
		grid->launch.kernel->call(grid->args.data());
		if (grid->launch.dependent && !block->fiber().waited)
			fail(LAUNCH_FAILED, "ends without wait_for_predecessor: a launch after it could begin before the "
			                    "one before it has ended");
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

// Reserves the memory of a block. Only what it uses is taken.
Block *new_block()
{
	const auto map = [](size_t bytes) {
		return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		            0);
	};
	void *stacks = map(THREADS_MAX * STACK), *shared = map(SHARED_MAX);
	if (stacks == MAP_FAILED || shared == MAP_FAILED)
		return nullptr;
	Block *b = new Block{};
	b->stacks = (char *)stacks, b->shared = (unsigned char *)shared;
	// The system limits how many mappings a process has, and a guard page makes two. So only the first block
	// has them, which every launch takes before others.
	static bool first = true;
	b->guards = first, first = false;
	b->fibers.resize(THREADS_MAX);
	return b;
}

// Lets fiber f begin with fiber_main.
void make_fiber(Block &b, unsigned f)
{
	if (b.guards && f >= b.most)
		mprotect(b.stacks + f * STACK, PAGE, PROT_NONE);
	b.most = std::max(b.most, f + 1);
	// The tops of the stacks are staggered, because otherwise all fibers would use the same few sets
	// of the cache.
	void **sp = (void **)(b.stacks + (f + 1) * STACK - f * 17 % 32 * 64);
	*--sp = nullptr;
	*--sp = (void *)fiber_main;
	for (int i = 0; i < 6; i++)
		*--sp = nullptr;
	b.fibers[f].sp = sp;
}

Status run(Grid &g, Block *b)
{
	grid = &g, block = b, status = OK;
	blockIdx = b->index, blockDim = g.launch.block, gridDim = g.launch.grid;
	run_fiber(&main_sp, (unsigned)pick());
	grid = nullptr, block = nullptr;
	return status;
}

} // namespace

Block *take_block(const Launch &l)
{
	// The one with guard pages, or else the largest, so that few blocks get many stacks.
	auto largest = std::max_element(idle.begin(), idle.end(), [](const Block *a, const Block *b) {
		return a->guards != b->guards ? b->guards : a->most < b->most;
	});
	Block *b = largest == idle.end() ? new_block() : *largest;
	if (!b)
		return nullptr;
	if (largest != idle.end())
		idle.erase(largest);
	b->threads = l.block.x * l.block.y * l.block.z;
	b->warps.resize((b->threads + 31) / 32);
	b->at_barrier.assign(b->warps.size(), 0);
	for (unsigned t = 0; t < b->threads; t++)
		b->fibers[t].index = {t % l.block.x, t / l.block.x % l.block.y, t / l.block.x / l.block.y};
	for (; b->made < b->threads; b->made++)
		make_fiber(*b, b->made);
	return b;
}

void give_back(Block *b)
{
	if (b->live)
		b->made = 0; // the fibers are stopped in the middle of a kernel
	b->live = 0;
	idle.push_back(b);
}

Status begin(Grid &g, Block *block, uint32_t serial)
{
	Block &b = *block;
	b.serial = serial, b.index = g.index(serial);
	b.live = b.threads, b.epoch = 0, b.arrived = 0, b.held = 0, b.triggered = false;
	for (unsigned w = 0; w < b.warps.size(); w++) {
		unsigned lanes = b.threads - w * 32;
		b.warps[w].live = b.warps[w].ready = lanes < 32 ? (1u << lanes) - 1 : ~0u;
		b.warps[w].waiting = b.warps[w].held = b.warps[w].epoch = b.at_barrier[w] = 0;
	}
	if (g.launch.order.copies != Order::EARLY || g.launch.dependent || checks)
		for (unsigned t = 0; t < b.threads; t++)
			b.fibers[t].group = 0, b.fibers[t].copies.clear(), b.fibers[t].waited = false;
	b.shared_used = g.shared_used;
	memset(b.shared, 0xff, b.shared_used); // NaNs
	b.current = g.launch.order.kind == Order::REVERSE ? b.threads - 1 : 0;
	return run(g, &b);
}

Status resume(Grid &g, Block *b)
{
	for (Warp &w : b->warps)
		w.ready |= w.held, w.held = 0;
	b->held = 0;
	return run(g, b);
}

void hold()
{
	block->warp().held |= block->bit(), block->warp().ready &= ~block->bit();
	block->held++;
	yield();
}

void fail(Status why, const char *format, ...)
{
	char s[1500];
	uint3 b = block->index, t = block->fiber().index;
	int n = snprintf(s, sizeof s, "%s: block (%u,%u,%u) thread (%u,%u,%u): ", grid->launch.kernel->name, b.x,
	                 b.y, b.z, t.x, t.y, t.z);
	va_list ap;
	va_start(ap, format);
	vsnprintf(s + n, sizeof s - (size_t)n, format, ap);
	va_end(ap);
	grid->fault = s + (" (" + describe(grid->launch.order) + ")"), status = why;
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
	auto &all = grid->shared_objects;
	auto object =
		std::find_if(all.begin(), all.end(), [&](const Grid::SharedObject &o) { return o.type == type; });
	if (object == all.end()) {
		const size_t offset = (grid->shared_used + align - 1) / align * align;
		const size_t dynamic = grid->launch.dynamic_shared;
		if (offset + size > SHARED_MAX || offset + size - dynamic > STATIC_SHARED_MAX)
			fail(LAUNCH_FAILED,
			     "too much shared memory at %s:%d: %zu bytes static, at most %zu, and %zu dynamic, at most "
			     "%zu in all",
			     base_name(site.file), site.line, offset + size - dynamic, STATIC_SHARED_MAX, dynamic,
			     SHARED_MAX);
		grid->shared_used = offset + size;
		object = all.insert(all.end(), {type, offset});
	}
	if (object->offset >= block->shared_used) { // the block began when the launch did not have the object
		memset(block->shared + block->shared_used, 0xff, grid->shared_used - block->shared_used);
		block->shared_used = grid->shared_used;
	}
	return block->shared + object->offset;
}

unsigned char *dynamic_shared()
{
	return block->shared;
}

bool on_fiber_stack(const void *p)
{
	return (uintptr_t)p - (uintptr_t)block->stacks < THREADS_MAX * STACK;
}

uint64_t random_bits()
{
	uint64_t &r = grid->random_state;
	return r ^= r << 13, r ^= r >> 7, r ^= r << 17;
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

} // namespace emulator
