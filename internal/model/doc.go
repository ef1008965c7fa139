// Package model is the Phi-3 transformer: what a checkpoint's configuration means, which weights it must
// have, and the forward pass from token ids to logits. It decides what to compute and in which order. A
// [Backend] does the arithmetic.
//
// Start with [Model.Forward], which has one call for each stage of the architecture diagram. [Config] names
// the sizes that appear in it. weights.go has the table of the checkpoint's tensors, and rope.go the rotary
// position embedding.
package model
