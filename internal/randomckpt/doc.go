// Package randomckpt writes checkpoints with random weights: any Phi-3 configuration, full size, in real
// shards with their index, exactly as Hugging Face lays them out. Such a checkpoint talks nonsense, but it
// loads, runs and takes time like the real one, so that loading, memory and speed can be measured where the
// real weights are not at hand.
//
// Weights depend on the seed, the tensor's name and the element's position alone, never on the number of
// cores or on how the work was cut. Matrices are N(0, 0.02²), as Phi-3 is initialised; norm weights are
// uniform in 1 ± 0.1, so that a forgotten norm shows.
//
//	config.go   what config.json says about shapes, and the presets
//	plan.go     names and shapes of the weights; which shard each goes to
//	fill.go     the random numbers
//	write.go    the files
package randomckpt
