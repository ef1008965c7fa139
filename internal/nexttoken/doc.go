// Package nexttoken reports what a model predicts after a prompt: how the prompt is split into tokens, the
// most probable next tokens, and, if asked, what package inspect sees inside the model. [New] makes a
// [Report], which can be written as JSON, as tables and as a picture.
package nexttoken
