// Package gpumodel predicts how long a GPU takes for a step of decoding, kernel by kernel, from the bytes
// that a kernel reads and the times at its edges. docs/gpu-model.md explains it, and shows its tables.
//
// No figure here is a measurement of phi3. The constants are from data sheets and from published measurements
// of other programs, or they are assumed; each says which. The GPU kit sets the predictions beside what it
// measures.
package gpumodel
