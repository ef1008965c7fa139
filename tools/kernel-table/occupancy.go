package main

// gpu is the limits of a multiprocessor: CUDA C++ Programming Guide 13.0, "Technical Specifications per
// Compute Capability".
type gpu struct {
	arch   string
	shared int // bytes of shared memory
	warps  int
	blocks int
	// overlap says that it has programmatic dependent launch.
	overlap bool
}

var gpus = []gpu{
	{"sm_80", 164 << 10, 64, 32, false},
	{"sm_86", 100 << 10, 48, 16, false},
	{"sm_89", 100 << 10, 48, 24, false},
	{"sm_90a", 228 << 10, 64, 32, true},
	{"sm_100", 228 << 10, 64, 32, true},
	{"sm_120", 100 << 10, 48, 24, true},
}

// These are the same for all of them. A warp's registers come from one of four parts of the file, in units.
// A block takes shared memory in units, and 1 KB more for the system.
const (
	registerParts    = 4
	registersOfAPart = 16 << 10
	registerUnit     = 256
	sharedUnit       = 128
	systemShared     = 1 << 10
	warpSize         = 32
)

// resident is how many blocks a multiprocessor holds at once, and what allows no more.
func (g *gpu) resident(threads, registers, shared int) (blocks int, limit string) {
	warps := roundUp(threads, warpSize) / warpSize
	warpsOfAPart := registersOfAPart / roundUp(registers*warpSize, registerUnit)
	blocks, limit = warpsOfAPart*registerParts/warps, "registers"
	if n := g.shared / roundUp(shared+systemShared, sharedUnit); n < blocks {
		blocks, limit = n, "shared memory"
	}
	if n := g.warps / warps; n <= blocks {
		blocks, limit = n, "threads"
	}
	if g.blocks < blocks {
		blocks, limit = g.blocks, "blocks"
	}
	return blocks, limit
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }
