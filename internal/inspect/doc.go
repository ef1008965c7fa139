// Package inspect looks inside a model while it computes. It shows the last hidden states, the logits that
// the model would have if it ended after each layer ("logit lens"), attention weights, what each part of the
// model adds to a logit, and where NaN or infinity appears first. [Text] does so for the last position of a
// text. [AfterLayers], [Attention] and [Parts] do so in the steps of others, for any positions.
//
// It does so with a [model.Backend] that wraps the model's backend and reads activations between two verbs.
// So [model.Model.Forward] has no code for inspection, and a pass without inspection takes no extra time.
// Inspection changes no bit of any result.
package inspect
