// Calls src/mma.cc without a driver, for the tests. It reads tiles from standard input, each the registers
// [register][lane] of a, b and d, and writes the new d of each to standard output.
//
//   mma ampere|hopper
#include "../src/mma.h"
#include <cstdio>
#include <cstring>

int main(int, char **argv)
{
	struct {
		uint32_t a[4][32], b[2][32];
		float d[4][32];
	} tile;
	while (fread(&tile, sizeof tile, 1, stdin)) {
		emulator::mma(strcmp(argv[1], "ampere") ? emulator::HOPPER : emulator::AMPERE, tile.d, tile.a,
		              tile.b);
		fwrite(tile.d, sizeof tile.d, 1, stdout);
	}
}
