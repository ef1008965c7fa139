// The instructions behind gpu.h's wrappers: mma, ldmatrix, cp.async. gpu.h describes the shapes.
#include "emulator.h"

namespace emulator {

namespace {

void whole_warp(const Warp &w, uint32_t lanes)
{
	if (lanes == ~0u)
		return;
	const int lane = __builtin_ctz(lanes);
	const Waiting &at = w.lane[lane];
	block->current = block->current / 32 * 32 + (unsigned)lane;
	fail(LAUNCH_FAILED, "wrong mask: %s at %s:%d needs the whole warp, some of whose threads have ended",
	     at.what, base_name(at.site.file), at.site.line);
}

// Fails unless p is aligned to 16 bytes and inside the block's shared memory.
void check_shared(const char *what, const void *p, Site site)
{
	const unsigned char *a = (const unsigned char *)p;
	if ((uintptr_t)p % 16)
		fail(MISALIGNED_ADDRESS, "misaligned %s at %s:%d: shared address %p is not a multiple of 16", what,
		     base_name(site.file), site.line, p);
	if (a < block->shared || a + 16 > block->shared + block->shared_used)
		fail(ILLEGAL_ADDRESS, "%s at %s:%d out of bounds: byte %td of %zu of shared memory", what,
		     base_name(site.file), site.line, a - block->shared, block->shared_used);
}

void multiply(Warp &w, uint32_t lanes)
{
	whole_warp(w, lanes);
	mma(grid->launch.tensor_core, w.d, w.a, w.b);
}

template <int MATRICES, bool TRANSPOSED> void load(Warp &w, uint32_t lanes)
{
	whole_warp(w, lanes);
	const unsigned last = block->current;
	const void *rows[32];
	memcpy(rows, w.row, sizeof rows);
	for (int i = 0; i < MATRICES; i++) {
		uint16_t m[8][8];
		for (int r = 0; r < 8; r++) {
			block->current = last / 32 * 32 + (unsigned)(8 * i + r); // the lane that a report names
			check_shared("ldmatrix", rows[8 * i + r], w.lane[8 * i + r].site);
			if (checks)
				checks->read(rows[8 * i + r], 16, w.caller);
			memcpy(m[r], rows[8 * i + r], 16);
		}
		for (int l = 0; l < 32; l++) {
			const int g = l / 4, t = l % 4 * 2;
			w.matrix[i][l] =
				TRANSPOSED ? m[t][g] | (uint32_t)m[t + 1][g] << 16 : m[g][t] | (uint32_t)m[g][t + 1] << 16;
		}
	}
	block->current = last;
}

void land(const Copy &c)
{
	if (checks)
		checks->copy_done(c.to, c.caller);
	if (c.from)
		memcpy(c.to, c.from, 16);
	else
		memset(c.to, 0, 16);
}

} // namespace

void mma_bf16(float *d, const uint32_t *a, const uint32_t *b, Site site)
{
	Warp &w = block->warp();
	const unsigned l = block->current % 32;
	for (int i = 0; i < 4; i++)
		w.a[i][l] = a[i], w.d[i][l] = d[i];
	w.b[0][l] = b[0], w.b[1][l] = b[1];
	collective("mma", ~0u, site, multiply);
	for (int i = 0; i < 4; i++)
		d[i] = w.d[i][l];
}

void ldmatrix(uint32_t *r, int matrices, bool transposed, const void *row, Site site)
{
	Warp &w = block->warp();
	const unsigned l = block->current % 32;
	w.row[l] = row, w.caller = __builtin_return_address(0);
	const Collective run = matrices == 2 ? transposed ? load<2, true> : load<2, false>
	                       : transposed  ? load<4, true>
	                                     : load<4, false>;
	collective(transposed ? "ldmatrix.trans" : "ldmatrix", ~0u, site, run);
	for (int i = 0; i < matrices; i++)
		r[i] = w.matrix[i][l];
}

void cp_async(void *dst, const void *src, bool valid, Site site)
{
	const void *caller = __builtin_return_address(0);
	check_shared("cp.async", dst, site);
	if ((uintptr_t)src % 16)
		fail(MISALIGNED_ADDRESS, "misaligned cp.async at %s:%d: global address %p is not a multiple of 16",
		     base_name(site.file), site.line, src);
	Fiber &f = block->fiber();
	const Copy c = {dst, valid ? src : nullptr, f.group, caller};
	if (checks) {
		if (valid)
			checks->read(src, 16, caller);
		checks->copy_started(dst, caller);
	} else if (grid->launch.order.copies == Order::EARLY)
		return land(c);
	// Until the thread waits for the copy, the bytes are neither the old ones nor, unless the order says
	// so, the new.
	const auto when = grid->launch.order.copies;
	if (when == Order::EARLY || (when == Order::EITHER && random_bits() >> 32 & 1)) {
		if (valid)
			memcpy(dst, src, 16);
		else
			memset(dst, 0, 16);
	} else
		memset(dst, 0xff, 16);
	f.copies.push_back(c);
}

void cp_async_commit()
{
	block->fiber().group++;
}

void cp_async_wait(int pending)
{
	Fiber &f = block->fiber();
	size_t done = 0;
	while (done < f.copies.size() && f.copies[done].group < f.group - pending)
		land(f.copies[done++]);
	f.copies.erase(f.copies.begin(), f.copies.begin() + (ptrdiff_t)done);
}

void prefetch_l2(const void *p, unsigned bytes, Site site)
{
	if ((uintptr_t)p % 16 || bytes % 16)
		fail(MISALIGNED_ADDRESS, "misaligned prefetch at %s:%d: %u bytes at %p", base_name(site.file),
		     site.line, bytes, p);
	if (!on_device(p, bytes))
		fail(ILLEGAL_ADDRESS, "prefetch out of bounds at %s:%d: %u bytes at %p are not in one allocation",
		     base_name(site.file), site.line, bytes, p);
	grid->prefetched += bytes;
}

} // namespace emulator
