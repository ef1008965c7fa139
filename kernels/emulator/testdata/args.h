#pragma once
#include <stdint.h>

struct TestArgs {
	uint32_t *out;      // unwritten
	const uint32_t *in; // [n]
	uint32_t *scratch;  // [64] zeros
	int n;
};
