// Package cpu is the [model.Backend] that runs on the processor's cores. It needs no cgo.
//
// The files by what they do:
//
//	backend.go, memory.go    the verbs, the memory and its size
//	linear.go                the matrix product, which takes nearly all of the time
//	attention*.go            RoPE, attention and the memory of the KV cache
//	pool.go                  the goroutines that share out the loops
//	paths*.go                the choice of a path: one version of the innermost loops
//	kernels.go, vectors.go   the path in plain Go: matrix products with weights, and all other loops
//	*_amd64.*, *_arm64.*     the paths in assembly; vectors_* are the loops that read no weights
//	unpack*                  quantized weights as bfloat16
//	lanes*.go                matrix products around the AVX2, AVX-512 and NEON loops; amx_* for AMX
//	args*.go                 the arguments of the loops in assembly
//	encoded_amd64.h          instructions that Go's assembler does not know, written by the command encode
//	probe*.go                measures how fast the machine can read and compute
//
// Weights are read from the checkpoint's memory map in the format they are stored in, so a checkpoint takes
// no memory beyond its own pages. Each element of a result is computed by one goroutine, in an order that
// depends only on the path. So the bits of the logits depend neither on the number of threads nor on how
// tokens are grouped into steps.
package cpu

//go:generate go run ./encode
