// Package kernels contains the CUDA sources of phi3, one file for each operation, and the compiled kernels
// that are embedded in the program.
//
// Start with args.h, which describes every kernel and its arguments.
package kernels
