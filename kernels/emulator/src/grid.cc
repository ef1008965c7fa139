// Runs a launch, block after block. With programmatic dependent launch, blocks of the launches after it begin
// before it has ended, as on a GPU:
//
//   - A dependent launch may begin when every block of the launch before has called launch_dependents or
//     ended.
//   - wait_for_predecessor returns when the launch before has ended and its writes are visible.
//   - So before it waits, launch k may rely on the launches up to k - 2 if the threads of k - 1 wait before
//     they call launch_dependents. Otherwise it may rely only on the launches that k - 1 may rely on before
//     it waits.
//
// Here a block that begins early runs to its wait. Then it is suspended until the launch before has ended. It
// begins before the launch before does anything, which is the worst time for a read that comes too early.
#include "emulator.h"
#include <algorithm>

namespace emulator {

namespace {

constexpr size_t SUSPENDED_BLOCKS_MAX = 24, SUSPENDED_THREADS_MAX = 6144; // of all launches

uint32_t blocks_numbered;
size_t suspended_blocks, suspended_threads;

void count_suspended(const Block *b, int sign)
{
	suspended_blocks += (size_t)sign, suspended_threads += (size_t)sign * b->threads;
}

Status no_memory(Grid &g)
{
	g.fault = "the emulator cannot map its threads' memory";
	return LAUNCH_FAILED;
}

// Runs a block to its wait.
Status start_block(Grid &g, uint32_t serial)
{
	Block *b = take_block(g.launch);
	if (!b)
		return no_memory(g);
	g.suspended[serial] = b, count_suspended(b, 1);
	g.holding = true;
	const Status status = begin(g, b, serial);
	g.holding = false;
	return status;
}

Status finish_suspended(Grid &g, uint32_t serial)
{
	auto it = g.suspended.find(serial);
	Block *b = it->second;
	const Status status = resume(g, b);
	g.suspended.erase(it), count_suspended(b, -1), give_back(b);
	return status;
}

} // namespace

Grid::~Grid()
{
	for (auto &[serial, b] : suspended)
		count_suspended(b, -1), give_back(b);
}

// RANDOM takes every 7919th block and wraps around. 7919 is a prime, so this reaches every block unless
// 7919 divides their number.
uint3 Numbered::index(uint32_t serial) const
{
	const size_t turn = serial - first, blocks = launch.blocks();
	size_t number = turn;
	if (launch.order.kind == Order::REVERSE)
		number = blocks - 1 - turn;
	if (launch.order.kind == Order::RANDOM && blocks % 7919)
		number = (launch.order.number + turn * 7919) % blocks;
	const dim3 size = launch.grid;
	return {(unsigned)(number % size.x), (unsigned)(number / size.x % size.y),
	        (unsigned)(number / size.x / size.y)};
}

std::shared_ptr<Grid> prepare(const Launch &l, const std::vector<char> &args, std::shared_ptr<Grid> before)
{
	auto g = std::make_shared<Grid>();
	g->launch = l, g->args = args;
	g->first = g->complete = blocks_numbered + 1;
	blocks_numbered += (uint32_t)l.blocks();
	g->chain = before ? before->chain : std::make_shared<std::vector<Numbered>>();
	g->chain->push_back(*g);
	g->before = std::move(before);
	g->shared_used = l.dynamic_shared;
	g->random_state = l.order.number * 0x9e3779b97f4a7c15 + 88172645463325252;
	return g;
}

Status start(Grid &g)
{
	if (g.started || g.launch.order.early == Order::NONE)
		return OK;
	g.started = true;
	// One block of the launch before shows when it calls launch_dependents, and so what this one may rely on.
	if (Grid &before = *g.before; before.launch.dependent && before.suspended.empty())
		if (Status status = start_block(before, before.first)) {
			g.fault = before.fault;
			return status;
		}
	const dim3 size = g.launch.block;
	const size_t threads = (size_t)size.x * size.y * size.z;
	const uint64_t chosen = g.random_state * 0x2545f4914f6cdd1d >> 4;
	for (uint32_t i = 0; i < std::min<size_t>(g.launch.resident, g.launch.blocks()); i++) {
		if (suspended_blocks == SUSPENDED_BLOCKS_MAX || suspended_threads + threads > SUSPENDED_THREADS_MAX)
			break;
		if (g.launch.order.early == Order::MOST || chosen >> i % 60 & 1)
			if (Status status = start_block(g, g.first + i))
				return status;
	}
	return OK;
}

Status finish(Grid &g)
{
	g.complete = complete_at_start(g), g.before = nullptr;
	std::vector<Numbered> &all = *g.chain; // forget those that every launch from now on may rely on
	all.erase(all.begin(),
	          std::find_if(all.begin(), all.end(), [&](const Numbered &n) { return n.first >= g.complete; }));
	Block *b = nullptr;
	Status status = OK;
	for (uint32_t i = 0; i < g.launch.blocks() && !status; i++)
		if (g.suspended.count(g.first + i))
			status = finish_suspended(g, g.first + i);
		else if (b || (b = take_block(g.launch)))
			status = begin(g, b, g.first + i);
		else
			return no_memory(g);
	if (b)
		give_back(b);
	return status;
}

uint32_t complete_at_start(const Grid &g)
{
	if (!g.before)
		return g.complete;
	return g.before->early_trigger ? complete_at_start(*g.before) : g.before->first;
}

void launch_dependents(Site)
{
	if (block->triggered)
		return;
	block->triggered = true, grid->triggered++;
	if (grid->launch.dependent && !block->fiber().waited)
		grid->early_trigger = true;
}

void wait_for_predecessor(Site)
{
	if (grid->holding)
		hold();
	block->fiber().waited = true;
}

} // namespace emulator
