// Package model is the Phi-3 transformer: what a checkpoint's configuration means, which weights it must
// have, and the forward pass from token ids to logits. It says what to compute and in which order. A
// [Backend] does the arithmetic.
//
// Start with [Model.Forward]: it is the architecture diagram as one page of Go. [Config] names the sizes that
// appear in it, weights.go is the table of the checkpoint's tensors, rope.go the rotary position embedding.
package model
