// Package kernels holds the CUDA sources of phi3, one operation a file, and the compiled form that the
// program carries.
//
// Start with args.h: what every kernel does, and its arguments.
package kernels
