// Package perplexity measures how well a model predicts a text, and how far its predictions are from those of
// a reference model.
//
// # Windows
//
// A text is longer than a model's context, so it is read in windows, as in Hugging Face's guide
// ("Perplexity of fixed-length models"). A window of up to Window tokens starts every Stride tokens. Each is
// a sequence of its own, from position 0. A window scores those of its tokens that no window before it has
// scored:
//
//	tokens    0 1 2 3 4 5 6 7 8 9        Window 4, Stride 2
//	window 1  . s s s                    s: scored
//	window 2      . . s s                .: only context
//	window 3          . . s s
//	window 4              . . s s
//
// So every token of the text counts once, except the first one (often a BOS), which has nothing before it.
// From the second window on, a token has at least Window - Stride tokens of context. If Stride equals Window,
// the first token of every window has no context, and does not count.
//
// # Numbers
//
// The perplexity is exp(mean of -log p(token)), where p is the softmax of the logits. With a reference, the
// same tokens give the Kullback-Leibler divergence of the model's distribution over the vocabulary from the
// reference's, Σ q·log(q/p) with the reference's q; how often both find the same token most probable; and how
// much the probability of the text's token changes. llama-perplexity --kl-divergence reports the same.
//
// All sums are float64 and in the order of the text, so the result does not depend on the number of threads
// or on the size of the steps. A standard error treats the tokens as independent.
package perplexity
