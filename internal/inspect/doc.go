// Package inspect looks inside a model while it computes: the last hidden states, what the model would say if
// it ended after each layer ("logit lens"), which tokens the last one attends to, and where NaN or infinity
// appears first.
//
// It does so with a [model.Backend] that stands in front of the model's own and reads activations between two
// verbs. So [model.Model.Forward] does not know that somebody looks, and a pass that nobody watches costs
// nothing. Looking changes no bit of any result.
package inspect
