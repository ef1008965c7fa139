// Package randomckpt writes checkpoints with random weights, for any Phi-3 configuration. The files have the
// names, sizes and format of those on Hugging Face, with shards and their index. The text that such a
// checkpoint generates is nonsense, but it needs the same memory and time as the real checkpoint. So both can
// be measured without a download.
//
// A weight depends only on the seed, the tensor's name and the element's index, not on the number of cores.
// Matrices are N(0, 0.02²), as Phi-3 is initialized. Norm weights are uniform in 1 ± 0.1, so that tests
// notice a forgotten norm.
//
//	config.go   what config.json says about shapes, and the presets
//	plan.go     names and shapes of the weights; which shard each goes to
//	fill.go     the random numbers
//	write.go    the files
package randomckpt
