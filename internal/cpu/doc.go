// Package cpu runs the model on the processor's cores: the [model.Backend] for machines without a GPU, and
// the one that the tests measure others by. It needs no cgo.
//
// backend.go holds memory and the verbs; linear.go the matrix product that nearly all time goes into;
// attention.go RoPE, attention and the KV cache's memory; pool.go the goroutines that share them out. The
// innermost loops come in several versions, of which paths.go chooses one: kernels.go and vectors.go are the
// version in Go, the files *_amd64 and *_arm64 are those in assembly, vectors_* all that is not a matrix
// product with weights. Instructions that Go's assembler does not know are macros of bytes in
// encoded_amd64.h, which the command in encode writes. probe.go measures the machine's limits.
//
// Weights are read straight from the checkpoint's memory map, in the type they are stored in, so a checkpoint
// takes no memory beyond its own pages. Every element of every result is computed by one goroutine in one
// order, which is fixed for a version of the loops, so the bytes of the logits depend on neither the number
// of threads nor on how tokens are grouped into calls.
package cpu

//go:generate go run ./encode
