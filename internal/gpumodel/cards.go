package gpumodel

import "strings"

// Card is what the model knows about a GPU. Times are in µs, and rates in bytes/µs, which are MB/s.
type Card struct {
	Name   string  // as the driver gives it, without "NVIDIA "
	Short  string  // as the tables give it
	Arch   string  // of its native code
	SMs    int     // multiprocessors
	Clock  float64 // MHz, which is clocks a µs
	DRAM   float64 // of the data sheet
	Read   float64 // the share of it that the fastest read reaches
	Shared int     // bytes of shared memory that a block can have
	L2     float64 // bytes
	L2Rate float64 // of reads that hit it
	Wait   float64 // latency of a read from DRAM under load
	Hit    float64 // latency of a read that hits L2
	FMAs   float64 // of mma.sync with bfloat16, for each clock and multiprocessor
	// Dependent says that the GPU has programmatic dependent launch.
	Dependent bool
}

// Cards are the GPUs that the model knows. docs/gpu-model.md names the source of each figure.
var Cards = []Card{
	{
		Name: "GeForce RTX 3060", Short: "RTX 3060", Arch: "sm_86", SMs: 28, Clock: 1777, DRAM: 360e3,
		Read: 0.92, Shared: 99 << 10, L2: 3 << 20, L2Rate: 1.3e6, Wait: 0.7, Hit: 0.25, FMAs: 256,
	},
	{
		Name: "GeForce RTX 4090", Short: "RTX 4090", Arch: "sm_89", SMs: 128, Clock: 2520, DRAM: 1008e3,
		Read: 0.92, Shared: 99 << 10, L2: 72 << 20, L2Rate: 5.0e6, Wait: 0.7, Hit: 0.2, FMAs: 256,
	},
	{
		Name: "A100-SXM4-80GB", Short: "A100", Arch: "sm_80", SMs: 108, Clock: 1410, DRAM: 2039e3,
		Read: 0.90, Shared: 163 << 10, L2: 40 << 20, L2Rate: 4.5e6, Wait: 0.8, Hit: 0.25, FMAs: 1024,
	},
	{
		Name: "H100 80GB HBM3", Short: "H100", Arch: "sm_90a", SMs: 132, Clock: 1830, DRAM: 3350e3,
		Read: 0.91, Shared: 227 << 10, L2: 50 << 20, L2Rate: 6.0e6, Wait: 0.8, Hit: 0.25, FMAs: 1270,
		Dependent: true,
	},
	{
		Name: "H200", Short: "H200", Arch: "sm_90a", SMs: 132, Clock: 1830, DRAM: 4800e3,
		Read: 0.91, Shared: 227 << 10, L2: 50 << 20, L2Rate: 6.0e6, Wait: 0.8, Hit: 0.25, FMAs: 1270,
		Dependent: true,
	},
}

// Find returns the card of that name, in the driver's or in the short form, or nil.
func Find(name string) *Card {
	name = strings.TrimPrefix(strings.TrimSpace(name), "NVIDIA ")
	for i := range Cards {
		if strings.EqualFold(name, Cards[i].Name) || strings.EqualFold(name, Cards[i].Short) {
			return &Cards[i]
		}
	}
	return nil
}

// ReadRate is the fastest read's.
func (c *Card) ReadRate() float64 { return c.DRAM * c.Read }

// The constants that are the same for all cards. docs/gpu-model.md names the source of each.
const (
	steady = 0.97 // of the fastest read, which a product reaches between its edges

	// µs
	gap        = 1.3  // between the ends of two empty kernels of a graph
	early      = 0.5  // the same with programmatic dependent launch
	finish     = 0.4  // from the last weight of a product to its result: a barrier, sums of segments, a store
	norm       = 1.0  // the barriers and latencies of RMSNorm in a product
	merge      = 1.0  // attention: partial results, fence, atomic operation
	small      = 2.0  // the work of embed and copy_rows
	argmax     = 4.0  // the work of argmax
	hostTurn   = 50.0 // between the graphs of two tokens, if the host waits for the id
	hostBehind = 5.0  // the same, if the id stays on the device

	// clocks
	chunkClocks  = 4000 // attention with one chunk of 128 keys, without waiting for memory
	serialClocks = 98   // the serial join, for each chunk: three dependent loads and two exponentials
	joinClocks   = 8    // the parallel join, for each chunk: two dependent operations

	issue        = 0.8      // of the instructions that four schedulers can issue
	lanes        = 4 * 32   // instructions of threads that a multiprocessor issues in a clock
	fromL2       = 64       // bytes that a multiprocessor takes from L2 in a clock
	prefetchMost = 12 << 20 // bytes of the next matrix, or a quarter of L2

	// Bytes of shared memory of a decode product: its ring, longer where launches overlap, and its sums.
	usualRing, overlapRing = 64 << 10, 96 << 10
	sums                   = 8 << 10
)
